"""Holds back a socket that sends too many frames."""

from __future__ import annotations

import asyncio

from wsroom.connection.connection import Connection
from wsroom.rates import Pauses

PARTS = 8
"""Parts of a burst; the clock is read once for each."""


class FrameLimit:
    """The frames that a socket may send.

    Beyond the limit its task pauses, so that frames wait in their source, which reads no more from
    the peer than it may hold. A socket whose frames have waited for too long is closed.
    """

    __slots__ = ("_connection", "_due", "_pauses", "left", "over")

    def __init__(self, connection: Connection) -> None:
        self.left = 0
        """Frames until `use_part` must be called."""
        self.over = False
        """Whether `pause` must be called before the next frame is handled."""
        self._connection = connection
        self._due = 0.0
        self._pauses: Pauses | None = None

    def use_part(self) -> None:
        """Use the next part of the rate, or the rest of it."""
        worker = self._connection.worker
        size = max(1, worker.limits.burst // PARTS)
        self.left = size - 1
        now = asyncio.get_running_loop().time()
        self._due = worker.frames.after(self._due, now, size)
        self.over = worker.frames.wait(self._due, now) > 0

    async def pause(self) -> None:
        """Wait until the socket is within its rate, or close it."""
        self.over = False
        connection, now = self._connection, asyncio.get_running_loop().time()
        seconds = connection.worker.frames.wait(self._due, now)
        if not seconds:
            return  # the app's code has taken longer
        if self._pauses is None:
            self._pauses = Pauses()
        if self._pauses.add(seconds, now) > connection.worker.timing.flood:
            connection.give_up(1008, "too many frames")
            return
        connection.source.read_beside(connection.peer_gone)
        await asyncio.sleep(seconds)
