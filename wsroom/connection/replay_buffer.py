"""Keeps the room frames of one socket until what it missed has been replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from wsroom.delivery.frames import Chunk, PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.delivery.writer import WriteFailureHandler, Writer
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset

NOTHING: Mapping[Room, Offset] = MappingProxyType({})


class ReplayBuffer(Writer):
    """Stands in for a socket's writer as the member of its rooms.

    What is written to the socket directly passes it by. Frames are kept up to `limit` bytes: past
    that they are released, or the owner is to give it up where a replay is under way.
    """

    __slots__ = (
        "_frames",
        "_full",
        "_hub",
        "_limit",
        "_owner",
        "_size",
        "_timer",
        "_writer",
        "replaying",
    )

    def __init__(self, hub: Hub, writer: Writer, limit: int, owner: WriteFailureHandler) -> None:
        super().__init__(writer.id, writer.path)
        self.replaying = False
        """Whether a `resume` is handled, which will release it."""
        self._hub = hub
        self._writer = writer
        self._limit = limit
        self._owner = owner
        self._frames: list[PreparedFrame] = []
        self._size = 0
        self._full = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> bool:
        """Whether frames are held: the socket is there, and they have not been released."""
        return self._hub.members.get(self.id) is self

    def collect(self, chunk: Chunk) -> None:
        """Keep the frames of `chunk`."""
        self._frames += chunk.frames
        self._size += sum([len(frame.payload) for frame in chunk.frames])
        if self._size > self._limit and not self._full:
            self._full = True
            # Soon, not now: the outbox may be walking through a room of this socket.
            asyncio.get_running_loop().call_soon(self._overflow)

    def release_after(self, seconds: float) -> None:
        """Release after so many seconds, unless a replay has begun by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._late)

    def _late(self) -> None:
        if not self.replaying:
            self.release()

    def _overflow(self) -> None:
        if not self.replaying:
            self.release()
        elif self.active:
            self._owner.give_up(1013, "too much happened meanwhile; try again")

    def write_until(self, until: Mapping[Room, Offset]) -> None:
        """Give the writer what is held of these rooms up to the offsets; hold the rest."""
        self._hub.outbox.distribute()
        within, self._frames = _parted(self._frames, until)
        for frame in within:
            self._writer.collect(Chunk([frame]))

    def release(self, replayed: Mapping[Room, Offset] = NOTHING, session: str = "") -> None:
        """Let the writer be the member again, and give it what is not replayed; once.

        Args:
            replayed: the offset up to which each of these rooms has been replayed.
            session: the hash of the session that was resumed; what leaves it out is dropped.

        """
        self.stop()
        if not self.active:
            return
        self._hub.replace(self._writer)  # distributes first: the last frames come here
        _, rest = _parted(self._frames, replayed)
        frames = [frame for frame in rest if not _leaves_out(frame, session)]
        self._frames = []
        if frames:
            self._writer.collect(Chunk(frames))

    def stop(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


Frames = list[PreparedFrame]


def _parted(frames: Frames, ends: Mapping[Room, Offset]) -> tuple[Frames, Frames]:
    """Those up to the offsets, and the rest.

    Numbers can be compared within an epoch only. But frames were kept in the order of their room:
    what came before one that is within is so too, of whatever epoch.
    """
    last: dict[Room, int] = {}
    for index, frame in enumerate(frames):
        if frame.stamp is not None:
            emission, offset = frame.stamp
            end = ends.get(emission.room)
            if end is not None and offset.epoch == end.epoch and offset.seq <= end.seq:
                last[emission.room] = index
    within: Frames = []
    rest: Frames = []
    for index, frame in enumerate(frames):
        known = frame.stamp is not None and index <= last.get(frame.stamp[0].room, -1)
        (within if known else rest).append(frame)
    return within, rest


def _leaves_out(frame: PreparedFrame, session: str) -> bool:
    return frame.stamp is not None and frame.stamp[0].except_session == session != ""
