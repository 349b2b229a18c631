"""Starting something once, for all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from wsroom.errors import AdapterError

T = TypeVar("T")


class SharedStart(Generic[T]):
    """Runs a start at most once at a time, and shares its outcome with all who wait for it.

    An attempt goes on if a caller is cancelled. If it fails, it fails for all who wait, and the
    next call begins another. If it succeeds, its result is returned until `cancel` or `forget`.

    Args:
        start: what to run; it may still return a result after it was cancelled.
        name: the subject of error messages, such as "the app".

    """

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop of the last attempt; None before the first, and after an end."""
        self._start = start
        self._name = name
        self._attempt: asyncio.Task[T] | None = None

    @property
    def loop_closed(self) -> bool:
        """Whether the event loop of the last attempt was closed, so that only `forget` is left."""
        return self.loop is not None and self.loop.is_closed()

    async def wait(self, timeout: float | None = None) -> T:
        """Return the result of the start; begin an attempt if there is none.

        Raises:
            AdapterError: `cancel` ended the attempt, or it was made on another event loop.
            TimeoutError: the attempt was not done after `timeout` seconds; it goes on.
            Exception: the attempt raised it.

        """
        loop = asyncio.get_running_loop()
        attempt = self._attempt
        if attempt is None or _failed(attempt):
            self.loop = loop
            attempt = self._attempt = loop.create_task(self._start(), name="wsroom: start")
            attempt.add_done_callback(_failed)  # retrieves the exception if no caller waits
        elif self.loop is not loop:
            raise AdapterError(f"{self._name} starts on another event loop; try again")
        if not attempt.done():
            await asyncio.wait([attempt], timeout=timeout)
            if not attempt.done():
                raise TimeoutError
        if attempt.cancelled():
            raise AdapterError(f"{self._name} was stopped while it started")
        return attempt.result()

    async def cancel(self) -> T | None:
        """End the attempt. If it has succeeded, returns its result, to one caller."""
        attempt = self._attempt
        if attempt is None:
            return None
        if not attempt.done():
            attempt.cancel()
            await asyncio.wait([attempt])
        if self._attempt is not attempt:
            return None  # another caller was faster
        self.forget()
        return None if _failed(attempt) else attempt.result()

    def forget(self) -> None:
        """Forget the attempt and its result: its event loop or its process has ended."""
        self.loop = self._attempt = None


def _failed(attempt: asyncio.Task[Any]) -> bool:
    return attempt.done() and (attempt.cancelled() or attempt.exception() is not None)
