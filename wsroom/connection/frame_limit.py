"""Holds back a socket that sends too many frames, or whose worker is about to stop."""

from __future__ import annotations

import asyncio

from wsroom.connection.connection import Connection
from wsroom.rates import Pauses

PARTS = 8
"""Parts of a burst; the clock is read once for each."""


class FrameLimit:
    """The frames that a socket may send.

    Once it is to end, there are none: it is closed as soon as none of its handlers runs.

    Beyond the limit its task pauses, so that frames wait in their source, which reads no more from
    the peer than it may hold. A socket whose frames have waited for too long is closed.
    """

    __slots__ = ("_connection", "_due", "_ending", "_pauses", "left", "over")

    def __init__(self, connection: Connection) -> None:
        self.left = 0
        """Frames until `use_part` must be called."""
        self.over = False
        """Whether `pause` must be called before the next frame is handled."""
        self._connection = connection
        self._ending = False
        self._due = 0.0
        self._pauses: Pauses | None = None

    def use_part(self) -> None:
        """Use the next part of the rate, or the rest of it."""
        worker = self._connection.worker
        size = max(1, worker.limits.burst // PARTS)
        self.left = size - 1
        now = asyncio.get_running_loop().time()
        self._due = worker.frames.after(self._due, now, size)
        self.over = self._ending or worker.frames.wait(self._due, now) > 0

    async def pause(self) -> None:
        """Wait until the socket is within its rate, or close it."""
        self.over = False
        connection, now = self._connection, asyncio.get_running_loop().time()
        if self._ending:
            if connection.tasks:
                await asyncio.wait(connection.tasks, timeout=connection.worker.timing.grace)
            self.end()
            return
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

    def end_soon(self) -> None:
        """Close the connection, once none of its handlers runs."""
        connection = self._connection
        self._ending = self.over = True  # then `pause` is called after the current frame
        if connection.accepted and not connection.supervisor.running:
            self._end_if_idle()
            for task in connection.tasks or ():
                task.add_done_callback(self._end_if_idle)

    def _end_if_idle(self, _: object = None) -> None:
        if not self._connection.tasks:
            self.end()

    def end(self) -> None:
        """Close the connection now, if its handshake is done."""
        if self._connection.accepted:
            self._connection.close(1012, "the server restarts")
