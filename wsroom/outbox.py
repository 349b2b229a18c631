"""What a tick of the event loop has to send: to whole rooms, and to single sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from typing import Protocol

from wsroom.frames import Chunk, PreparedFrame

LOOK_EVERY = 1.0
"""Seconds between two looks at the sockets that were written to."""


class Writer(Protocol):
    """How frames get to one peer."""

    id: str
    """The id of the socket."""

    def collect(self, chunk: Chunk) -> None:
        """Send `chunk` at the end of this tick, in its turn; never waits, never raises."""

    def take(self, chunk: Chunk) -> None:
        """This is the end of the tick: send `chunk` now, or in its turn."""

    def flush(self) -> None:
        """Send what was collected in this tick."""

    def look(self, now: float) -> bool:
        """Act on what is still unsent at time `now`; False where there is nothing."""


class Outbox:
    """Collects what is sent in a tick, so that each socket is written to once.

    uvloop and asyncio make one system call for each write to a transport, so frames of a tick are
    joined first: under load that is worth more than anything else. And frames that go to the same
    members one after the other are joined once for all of them, not once for each.

    Whoever changes who is in a room calls `settle` before.
    """

    def __init__(self) -> None:
        self._members: Set[Writer] = frozenset()
        self._skip = ""
        self.frames: list[PreparedFrame] = []
        """What was sent to the same members one after the other, and is not settled yet."""
        self._dirty: list[Writer] = []
        self.ticks = 0
        """Ticks that had something to send; between two of them the event loop has run."""
        self._watched: set[Writer] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False

    def send(self, members: Set[Writer], frame: PreparedFrame, skip: str = "") -> None:
        """Send `frame` to `members` but the one whose id is `skip`, at the end of this tick."""
        if members is not self._members or skip != self._skip:
            self.settle()
            self._members = members
            self._skip = skip
        self.frames.append(frame)
        if not self._scheduled:
            self._schedule()

    def add(self, writer: Writer) -> None:
        """Flush `writer` at the end of this tick; called once until then."""
        self._dirty.append(writer)
        if not self._scheduled:
            self._schedule()

    def settle(self) -> None:
        """Hand what was sent so far to the members as they are now.

        Before somebody joins or leaves, and before a frame for one socket alone, so that the order
        of each socket's frames is that of the calls.
        """
        if self.frames:
            chunk, writers = self._take()
            for writer in writers:
                writer.collect(chunk)

    def _take(self) -> tuple[Chunk, Iterable[Writer]]:
        chunk, self.frames = Chunk(self.frames), []
        members, self._members = self._members, frozenset()
        if not self._skip:
            return chunk, members
        return chunk, [member for member in members if member.id != self._skip]

    def watch(self, writer: Writer) -> None:
        """Look after `writer` until nothing of it is unsent."""
        self._watched.add(writer)
        self._arm()

    def forget(self, writer: Writer) -> None:
        """Look after `writer` no more."""
        self._watched.discard(writer)

    def stop(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        self.ticks += 1
        if self.frames:
            chunk, writers = self._take()
            for writer in writers:
                writer.take(chunk)
            self._watched.update(writers)
        dirty, self._dirty = self._dirty, []
        for writer in dirty:
            writer.flush()
        self._watched.update(dirty)
        self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            # An app that is mounted is not told when its loop ends and another begins.
            self._loop = loop
            self._timer = loop.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._watched = {writer for writer in self._watched if writer.look(now)}
        if self._watched:
            self._arm()
