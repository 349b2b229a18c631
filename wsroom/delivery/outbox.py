"""What a tick of the event loop has to send: to whole rooms, and to single sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set

from wsroom.delivery.frames import DEFLATE_FROM, Chunk, PreparedFrame
from wsroom.delivery.writer import Writer
from wsroom.timing import DEFAULT_TIMING, Timing

KEEP = 0.002
"""Seconds that a tick's frames are kept back at most for what is about to come."""

KEEP_FROM = 32
"""Writes from which that pays: they take longer than Redis' answer."""


class Outbox:
    """Collects what is sent in a tick, so that each socket is written to once.

    uvloop and asyncio make one system call for each write to a transport, so frames of a tick are
    joined first: under load that is worth more than anything else. And frames that go to the same
    members one after the other are joined once for all of them, not once for each; who is left
    out of some of them, as senders are, gets the others joined apart.

    Whoever changes who is in a room calls `distribute` before.

    While an emission of this worker is on its way (`expect`), what a tick has for many sockets is
    kept back until it has come, for 2 ms at most: one socket's handlers run one after the other, so
    through Redis its messages come one by one, and each would cost a write for each member.
    """

    def __init__(self, limit: int, timing: Timing = DEFAULT_TIMING) -> None:
        self.limit = limit
        """Unsent bytes of a socket from which it may be too slow."""
        self.timing = timing
        self._since_check = 0  # bytes that each socket may have been given
        self._members: Set[Writer] = frozenset()
        self._skips: dict[Writer, set[int]] = {}  # who is left out, and of which of the frames
        self.frames: list[PreparedFrame] = []
        """What was sent to the same members one after the other, and is not distributed yet."""
        self._dirty: list[Writer] = []
        self.ticks = 0
        """Ticks that had something to send; between two of them the event loop has run."""
        self._watched: set[Writer] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self.keep = KEEP
        self._coming = 0
        self._kept: asyncio.TimerHandle | None = None

    def send(self, members: Set[Writer], frame: PreparedFrame, skip: Writer | None = None) -> None:
        """Send `frame` to `members` but `skip`, at the end of this tick."""
        if members is not self._members:
            self.distribute()
            self._members = members
        if skip is not None:
            self._skips.setdefault(skip, set()).add(len(self.frames))
        self.frames.append(frame)
        if not self._scheduled:
            self._schedule()

    def add(self, writer: Writer) -> None:
        """Flush `writer` at the end of this tick; called once until then."""
        self._dirty.append(writer)
        if not self._scheduled:
            self._schedule()

    def distribute(self) -> None:
        """Hand what was sent so far to the members as they are now.

        Before somebody joins or leaves, and before a frame for one socket alone, so that the order
        of each socket's frames is that of the calls.
        """
        if self.frames:
            for chunk, writers in self._take():
                for writer in writers:
                    writer.collect(chunk)

    def _take(self) -> list[tuple[Chunk, Iterable[Writer]]]:
        frames, self.frames = self.frames, []
        members, self._members = self._members, frozenset()
        skips, self._skips = self._skips, {}
        taken: list[tuple[Chunk, Iterable[Writer]]] = []
        taken.append((Chunk(frames), members - skips.keys() if skips else members))
        for writer, skipped in skips.items():
            rest = [frame for index, frame in enumerate(frames) if index not in skipped]
            if rest and writer in members:
                taken.append((Chunk(rest), (writer,)))
        return taken

    def watch(self, writer: Writer) -> None:
        """Look after `writer` until nothing of it is unsent."""
        self._watched.add(writer)
        self._arm(asyncio.get_running_loop())

    def forget(self, writer: Writer) -> None:
        """Look after `writer` no more."""
        self._watched.discard(writer)

    def expect(self) -> None:
        """An emission is handed to the adapter, and what it brings is about to come."""
        self._coming += 1

    def came(self) -> None:
        """It has come, or has failed."""
        self._coming -= 1
        if self._kept is not None and not self._coming:
            # Soon, not now: who has waited for it may go on with the next at once.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._let_go, loop)

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._kept is not None and not self._coming:
            self._send_all(loop)

    def stop(self) -> None:
        """End the timers; what is kept back leaves now."""
        if self._kept is not None:
            self._send_all(asyncio.get_running_loop())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._scheduled = True
        loop = asyncio.get_running_loop()  # once a tick: it takes a system call
        loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._coming and len(self._members) + len(self._dirty) >= KEEP_FROM:
            self._kept = loop.call_later(self.keep, self._send_all, loop)
        else:
            self._send_all(loop)

    def _send_all(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None
        self._scheduled = False
        self.ticks += 1
        if self.frames:
            for chunk, writers in self._take():
                self._send_chunk(chunk, writers)
        dirty, self._dirty = self._dirty, []
        for writer in dirty:
            self._since_check += writer.flush()
        self._watched.update(dirty)
        if self._since_check > self.limit:
            self._since_check = 0
            for writer in self._watched:
                writer.check_flood()
        self._arm(loop)

    def _send_chunk(self, chunk: Chunk, writers: Iterable[Writer]) -> None:
        # Without a call for each writer: this is what a delivery costs.
        plain = chunk.plain
        may_pack = len(plain) >= DEFLATE_FROM
        for writer in writers:
            transport = writer.idle_transport
            if transport is None:
                writer.collect(chunk)
            elif not transport.is_closing():  # as in `TransportWriter.flush`
                transport.write(chunk.packed() if may_pack and writer.accepts_deflate else plain)
        self._watched.update(writers)
        self._since_check += len(plain)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None or self._timer_loop is not loop:
            # An app that is mounted is not told when its loop ends and another begins.
            self._timer_loop = loop
            self._timer = loop.call_later(self.timing.unsent_check_interval, self._look)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watched = {writer for writer in self._watched if writer.check_unsent(now)}
        if self._watched:
            self._arm(loop)
