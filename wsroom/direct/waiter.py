"""What the task of a connection awaits between frames."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, TypeVar

from wsroom.direct.eager import Started, step

A = TypeVar("A")


class Waiter:
    """A future for one task, which can be awaited again and again.

    While the task waits, `start` runs code as a step of the task without waking it. If that code
    has to wait for something, the task wakes up and goes on with it. At most one wake-up is
    pending at any time.

    It must be made in the task. What a task uses of a future is described in PEP 3156, and in
    `Task.__step` of asyncio/tasks.py.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_cancelled",
        "_context",
        "_loop",
        "_started",
        "_task",
        "_wake_up",
        "waiting",
    )

    def __init__(self) -> None:
        self.waiting = False
        """Whether the task waits, and no wake-up is pending."""
        self._asyncio_future_blocking = False
        self._loop = asyncio.get_running_loop()
        self._task = current_task()
        self._wake_up: Callable[[Waiter], object] | None = None
        self._context: Context | None = None
        self._cancelled = False
        self._started: Started[Any] | None = None

    def __await__(self) -> Generator[Any, Any, Started[Any] | None]:
        """Wait for `wake`; return the rest of what was started meanwhile, if it has to wait."""
        self._asyncio_future_blocking = True
        yield self
        started, self._started = self._started, None
        if started is not None:
            started.cancelled, self._cancelled = self._cancelled, False
        return started

    def wake(self) -> None:
        """End the wait, in the next iteration of the event loop."""
        if self.waiting:
            self.waiting = False
            assert self._wake_up is not None
            self._loop.call_soon(self._wake_up, self, context=self._context)

    def start(self, function: Callable[[A], Started[Any] | None], argument: A) -> bool:
        """Call a function as a step of the task, which must be waiting; it must not raise.

        Returns False if it was not called, because another task is running.
        """
        if self._task is None or current_task(self._loop) is not None:
            return False
        assert self._context is not None
        started = step(self._task, self._loop, self._context, function, argument)
        if started is not None:
            self._started = started
            self.wake()
        return True

    # -- a future, as far as a task uses it ---------------------------------------------------

    def add_done_callback(
        self, callback: Callable[[Waiter], object], *, context: Context | None = None
    ) -> None:
        self._wake_up = callback
        self._context = context
        self.waiting = True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return not self.waiting

    def result(self) -> None:
        # What was started is cancelled itself, when the task goes on with it.
        if self._cancelled and self._started is None:
            self._cancelled = False
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        self._cancelled = True
        self.wake()
        return True
