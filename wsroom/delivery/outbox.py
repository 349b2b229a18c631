"""Collects what one tick of the event loop has to send, to rooms and to single sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Set

from wsroom.delivery.frames import DEFLATE_FROM, Chunk, PreparedFrame
from wsroom.delivery.writer import VOLATILE_LIMIT, Writer, unsent_bytes
from wsroom.stats import Counters
from wsroom.timing import DEFAULT_TIMING, Timing

MAX_DELAY = 0.002
"""Seconds by which a tick's frames are delayed at most, for those that are about to come."""

DELAY_FROM = 32
"""Writes from which a delay pays: they take longer than an answer of Redis."""


FEW = 8
"""Members up to which each gets a frame by itself: that costs less than a chunk for all."""


NO_LIMIT = 2**63


class Outbox:
    """Collects the frames of a tick, so that each socket is written to once.

    uvloop and asyncio make one system call for each write to a transport, so the frames of a tick
    are joined first: under load nothing else saves as much. Consecutive frames to the same members
    are joined once for all of them. Members that are skipped for some of the frames, such as
    senders, get the others joined separately.

    Code that changes the members of a room calls `distribute` before.

    While an emission of this worker is being published, a tick's frames for many sockets are
    delayed until it has been delivered, for at most 2 ms: one socket's handlers run one after the
    other, so through Redis its messages come one by one, and each would cost a write for each
    member.
    """

    def __init__(
        self,
        limit: int,
        timing: Timing = DEFAULT_TIMING,
        limit_of_all: int = NO_LIMIT,
        counters: Counters | None = None,
    ) -> None:
        self.limit = limit
        """The number of unsent bytes above which a socket may be too slow."""
        self.limit_of_all = limit_of_all
        """The number of unsent bytes that all sockets together may have."""
        self.timing = timing
        """How often sockets are checked, and when connections are aborted."""
        self.counters = Counters() if counters is None else counters
        """Where frames are counted: per emission or per tick, never per member of a large room."""
        self.frames: list[PreparedFrame] = []
        """Consecutive frames to the same members that have not been distributed yet."""
        self.ticks = 0
        """The number of ticks that had something to send; between two the event loop has run."""
        self.max_delay = MAX_DELAY
        """Seconds by which frames are delayed at most while an emission is being published."""
        self._members: Set[Writer] = frozenset()
        self._skipped: dict[Writer, set[int]] = {}  # indices of the frames to skip
        self._to_flush: list[Writer] = []
        self._scheduled = False
        self._publishing = 0  # emissions that are being published
        self._delay: asyncio.TimerHandle | None = None
        self._bytes_since_check = 0  # that each socket may have been given
        self._written_since_check = 0  # to all sockets
        self._watched: set[Writer] = set()
        self._check_timer: asyncio.TimerHandle | None = None
        self._check_loop: asyncio.AbstractEventLoop | None = None

    def send(self, members: Set[Writer], frame: PreparedFrame, skip: Writer | None = None) -> None:
        """Send `frame` to `members` except `skip`, at the end of this tick."""
        if len(members) <= FEW:
            if self.frames:
                self.distribute()
            for writer in members:
                if writer is not skip:
                    writer.collect(frame)
            counters, given = self.counters, len(members)
            if skip is not None and skip in members:
                given -= 1
            counters.frames_out += given
            counters.bytes_out += given * len(frame.plain)
            return
        if members is not self._members:
            self.distribute()
            self._members = members
        if skip is not None:
            self._skipped.setdefault(skip, set()).add(len(self.frames))
        self.frames.append(frame)
        if not self._scheduled:
            self._schedule()

    def flush_later(self, writer: Writer) -> None:
        """Flush `writer` at the end of this tick; called at most once until then."""
        self._to_flush.append(writer)
        if not self._scheduled:
            self._schedule()

    def distribute(self) -> None:
        """Hand the frames that were sent so far to the current members.

        Called before a socket joins or leaves, and before a frame for one socket alone, so that
        each socket gets its frames in the order of the calls.
        """
        if self.frames:
            for chunk, writers in self._take_chunks():
                for writer in writers:
                    writer.collect(chunk)

    def _take_chunks(self) -> Iterator[tuple[Chunk, Collection[Writer]]]:
        frames, self.frames = self.frames, []
        members, self._members = self._members, frozenset()
        skipped, self._skipped = self._skipped, {}
        yield self._counted(Chunk(frames), members - skipped.keys() if skipped else members)
        for writer, indices in skipped.items():
            rest = [frame for index, frame in enumerate(frames) if index not in indices]
            if rest and writer in members:
                yield self._counted(Chunk(rest), (writer,))

    def _counted(
        self, chunk: Chunk, writers: Collection[Writer]
    ) -> tuple[Chunk, Collection[Writer]]:
        counters, count = self.counters, len(writers)
        counters.frames_out += count * len(chunk.frames)
        counters.bytes_out += count * len(chunk.plain)
        return chunk, writers

    def count(self, frame: PreparedFrame) -> None:
        """Count a frame for one socket."""
        counters = self.counters
        counters.frames_out += 1
        counters.bytes_out += len(frame.plain)

    def watch(self, writer: Writer) -> None:
        """Check `writer` from time to time, until it has no unsent bytes."""
        self._watched.add(writer)
        self._start_check_timer(asyncio.get_running_loop())

    def forget(self, writer: Writer) -> None:
        """Check `writer` no more."""
        self._watched.discard(writer)

    def begin_publish(self) -> None:
        """Note that an emission is being published, and is about to be delivered."""
        self._publishing += 1

    def end_publish(self) -> None:
        """Note that an emission has been published, or that publishing it failed."""
        self._publishing -= 1
        if self._delay is not None and not self._publishing:
            # Soon, not now: code that waited for it may emit again at once.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._end_delay, loop)

    def _end_delay(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._delay is not None and not self._publishing:
            self._send_all(loop)

    def stop(self) -> None:
        """Send delayed frames, and cancel the timers."""
        if self._delay is not None:
            self._send_all(asyncio.get_running_loop())
        if self._check_timer is not None:
            self._check_timer.cancel()
            self._check_timer = None

    def _schedule(self) -> None:
        self._scheduled = True
        loop = asyncio.get_running_loop()  # once a tick: it takes a system call
        loop.call_soon(self._end_tick, loop)

    def _end_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._publishing and len(self._members) + len(self._to_flush) >= DELAY_FROM:
            self._delay = loop.call_later(self.max_delay, self._send_all, loop)
        else:
            self._send_all(loop)

    def _send_all(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        self._scheduled = False
        self.ticks += 1
        if self.frames:
            for chunk, writers in self._take_chunks():
                self._send_chunk(chunk, writers)
        to_flush, self._to_flush = self._to_flush, []
        for writer in to_flush:
            size = writer.flush()
            self._bytes_since_check += size
            self._written_since_check += size
        self._watched.update(to_flush)
        if self._bytes_since_check > self.limit:
            self._bytes_since_check = 0
            for writer in self._watched:
                writer.check_flood()
        if self._written_since_check > self.limit_of_all / 4:
            self._check_all()
        self._start_check_timer(loop)

    def _check_all(self) -> None:
        self._written_since_check = 0
        unsent = [(writer.unsent, writer) for writer in self._watched if not writer.ended]
        excess = sum([size for size, _ in unsent]) - self.limit_of_all
        if excess > 0:
            for size, writer in sorted(unsent, key=lambda pair: pair[0], reverse=True):
                writer.give_up_soon()
                excess -= size
                if excess <= 0:
                    break

    def _send_chunk(self, chunk: Chunk, writers: Collection[Writer]) -> None:
        if chunk.volatile:
            writers = self._send_lasting_to_late(chunk, writers)
        # No method of the writer is called: this loop is the cost of a delivery.
        plain = chunk.plain
        may_deflate = len(plain) >= DEFLATE_FROM
        for writer in writers:
            transport = writer.idle_transport
            if transport is None:
                writer.collect(chunk)
            elif not transport.is_closing():  # as in `TransportWriter.flush`
                transport.write(
                    chunk.deflated() if may_deflate and writer.accepts_deflate else plain
                )
        self._watched.update(writers)
        self._bytes_since_check += len(plain)
        self._written_since_check += len(plain) * len(writers)

    def _send_lasting_to_late(self, chunk: Chunk, writers: Collection[Writer]) -> list[Writer]:
        # Returns the writers that are not behind, and those that see to it themselves.
        late: list[Writer] = []
        others: list[Writer] = []
        for writer in writers:
            transport = writer.idle_transport
            behind = transport and unsent_bytes(transport) > VOLATILE_LIMIT
            (late if behind else others).append(writer)
        if late and (lasting := chunk.lasting()) is not None:
            self._send_chunk(lasting, late)
        return others

    def _start_check_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._check_timer is None or self._check_loop is not loop:
            # A mounted app is not notified when its loop ends and another begins.
            self._check_loop = loop
            self._check_timer = loop.call_later(self.timing.unsent_check_interval, self._check)

    def _check(self) -> None:
        self._check_timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watched = {writer for writer in self._watched if writer.check_unsent(now)}
        self._check_all()
        if self._watched:
            self._start_check_timer(loop)
