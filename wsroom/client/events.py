"""A client's events as an async iterator, for programs that prefer a loop to listeners."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

from wsroom.client.listeners import FRAME, MAX_WAITING, Listeners
from wsroom.wire.protocol import Frame


class Event(NamedTuple):
    """One event of the server."""

    event: str
    message: Any
    sender: str | None
    """The id of the socket that emitted it; None if the app did."""
    room: str | None
    """The room it was emitted to; None for the path, for several rooms, or for this socket."""
    time: int | None
    """If it was missed and is replayed: when it was emitted, in ms since the epoch."""


class Events:
    """The events that arrive from its creation on: `async for event in socket.events("said")`.

    The loop ends when the socket is closed for good, after the last event. If more than 1,000
    events wait for the loop, nothing is read from the server until it continues.
    """

    def __init__(self, listeners: Listeners, names: Iterable[str]) -> None:
        self._listeners = listeners
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(MAX_WAITING)
        stops = _listen(listeners, frozenset(names), self._queue)
        # A loop that is left with `break` drops this object, and must not stop the client.
        self._finalizer = weakref.finalize(self, _stop, stops, self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._queue.empty() and (self._listeners.over or not self._finalizer.alive):
            raise StopAsyncIteration
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def stop(self) -> None:
        """Take no more events; also done if nothing refers to this object any more."""
        self._finalizer()


# These functions have no reference to the iterator, or it would never be dropped.


def _listen(
    listeners: Listeners, names: frozenset[str], queue: asyncio.Queue[Event | None]
) -> list[Callable[[], None]]:
    async def arrived(frame: Frame) -> None:
        name = frame["event"]
        if "id" not in frame and (not names or name in names):
            values = frame["message"], frame["sender"], frame["room"], frame.get("time")
            await queue.put(Event(name, *values))

    async def state_changed(state: str) -> None:
        if state == "closed":
            await queue.put(None)

    return [
        listeners.add(FRAME, arrived, 1),
        listeners.add(("hook", "on_state"), state_changed, 1),
    ]


def _stop(stops: list[Callable[[], None]], queue: asyncio.Queue[Event | None]) -> None:
    for stop in stops:
        stop()
    while not queue.empty():
        queue.get_nowait()  # a listener may wait for a place
