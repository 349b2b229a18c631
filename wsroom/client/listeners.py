"""The functions that listen to a client's connection, called one at a time and in order."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, takes

logger = logging.getLogger("wsroom.client")

LAST_CALLS = 5.0
"""Seconds that listeners have for their last calls once the socket is closed."""
MAX_WAITING = 1000
"""Calls that may wait; while there are more, the client reads nothing from the server."""

Key = tuple[str, str]
"""("event", its name), or ("hook", its name)."""
FRAME = "hook", "frame"
"""Called with every frame, like the event "*", which a program can remove the listeners of."""


class _Listener(NamedTuple):
    function: Callable[..., Any]
    takes: int


class Listeners:
    """Calls functions with what happened, in the order in which it happened, one at a time.

    An `async def` listener is awaited before the next one is called. If a listener raises, that is
    logged, and the others are called.
    """

    def __init__(self) -> None:
        self._listeners: dict[Key, list[_Listener]] = {}
        self._calls: asyncio.Queue[tuple[Key, tuple[Any, ...]] | None] = asyncio.Queue()
        self._space = asyncio.Event()
        self._space.set()
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def add(self, key: Key, function: Callable[..., Any], most: int) -> Callable[[], None]:
        """Add a listener that takes `most` arguments or fewer; return a function to remove it.

        Raises:
            SetupError: it takes more.

        """
        signature = signature_of(function)
        counts = [count for count in range(most, -1, -1) if takes(signature, count)]
        if not counts:
            raise SetupError(
                f"{name_of(function)}{signature} cannot listen to {key[1]!r}; "
                f"it is called with at most {most} arguments"
            )
        listener = _Listener(function, counts[0])
        self._listeners.setdefault(key, []).append(listener)
        return lambda: self._remove(key, lambda other: other is listener)

    def remove(self, key: Key, function: Callable[..., Any] | None) -> None:
        """Remove a function's listeners of this key; without a function, all of them."""
        self._remove(key, lambda other: function is None or other.function == function)

    def _remove(self, key: Key, unwanted: Callable[[_Listener], bool]) -> None:
        rest = [other for other in self._listeners.pop(key, []) if not unwanted(other)]
        if rest:
            self._listeners[key] = rest

    def notify(self, key: Key, *arguments: Any) -> None:
        """Queue a call of the listeners of this key."""
        if key in self._listeners:
            self._calls.put_nowait((key, arguments))
            if self._calls.qsize() >= MAX_WAITING:
                self._space.clear()

    async def wait_for_space(self) -> None:
        """Wait until fewer than `MAX_WAITING` calls wait."""
        await self._space.wait()

    def begin(self) -> None:
        """Call listeners from now on; also again after `end`, by one of them too."""
        self._ended = False
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def end(self) -> None:
        """Stop after the calls that wait."""
        self._ended = True
        self._calls.put_nowait(None)  # wakes `_run`

    @property
    def over(self) -> bool:
        """Whether it has ended, and the last listener was called."""
        return self._ended and (self._task is None or self._task.done())

    @property
    def calling(self) -> bool:
        """Whether the current task is the one that calls the listeners."""
        return self._task is not None and self._task is asyncio.current_task()

    async def wait_ended(self) -> None:
        """Wait for the last calls, for a bounded time; in a listener it does nothing."""
        if self._task is not None and self._ended and not self.calling:
            await asyncio.wait([self._task], timeout=LAST_CALLS)
            if self._ended:  # no listener has opened the socket again
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not (self._ended and self._calls.empty()):
            call = await self._calls.get()
            if self._calls.qsize() < MAX_WAITING:
                self._space.set()
            if call is not None:
                key, arguments = call
                for listener in tuple(self._listeners.get(key, ())):
                    await _call(key, listener, arguments)


async def _call(key: Key, listener: _Listener, arguments: tuple[Any, ...]) -> None:
    try:
        result = listener.function(*arguments[: listener.takes])
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("%s, which listens to %r, failed", name_of(listener.function), key[1])
