"""Keeps the room frames of one socket until the messages that it missed have been replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from wsroom.delivery.frames import Chunk, PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.delivery.writer import WriteFailureHandler, Writer, frames_of
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset

NOTHING: Mapping[Room, Offset] = MappingProxyType({})


class ReplayBuffer(Writer):
    """Takes the place of a socket's writer as the member of its rooms.

    Frames for the socket alone bypass it. It keeps up to `limit` bytes of frames. With more, it
    releases them, or gives the connection up if a replay is in progress.

    With `room` it keeps the frames of that room only. The socket has one stand-in for all of its
    rooms, because a union of rooms, or an exclusion, must find the same member in each of them.
    """

    __slots__ = (
        "_connection",
        "_frames",
        "_full",
        "_hub",
        "_limit",
        "_room",
        "_size",
        "_timer",
        "_writer",
        "replaying",
    )

    def __init__(
        self,
        hub: Hub,
        writer: Writer,
        limit: int,
        connection: WriteFailureHandler,
        room: Room | None = None,
    ) -> None:
        super().__init__(writer.id, writer.path)
        self.replaying = False
        """Whether a `resume` is being handled, which will release it."""
        self._hub = hub
        self._writer = writer
        self._limit = limit
        self._connection = connection
        self._room = room
        self._frames: list[PreparedFrame] = []
        self._size = 0
        self._full = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> bool:
        """Whether it keeps frames: the socket has not ended, and they have not been released."""
        return self._hub.members.get(self.id) is self

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Keep the frames of `chunk`, or write those that are not to be kept; drop volatile ones.

        A volatile frame has no stamp, so its room is unknown here: if it were written, it could
        overtake a frame that is kept.
        """
        frames = [frame for frame in frames_of([chunk]) if not frame.volatile]
        if self._room is not None:
            rest = [frame for frame in frames if not self._keeps(frame)]
            frames = [frame for frame in frames if self._keeps(frame)]
            if rest:
                self._writer.collect(Chunk(rest))
        self._frames += frames
        self._size += sum([len(frame.payload) for frame in frames])
        if self._size > self._limit and not self._full:
            self._full = True
            # Soon, not now: the outbox may be iterating over a room of this socket.
            asyncio.get_running_loop().call_soon(self._overflow)

    def _keeps(self, frame: PreparedFrame) -> bool:
        # Frames without a stamp have no place in a history, so no replay can double them.
        return self._room is None or _room_of(frame) == self._room

    def keep_only(self, room: Room) -> None:
        """Write the frames of other rooms, those that are kept and those that will come."""
        self._hub.outbox.distribute()
        frames, self._frames, self._size, self._room = self._frames, [], 0, room
        if frames:
            self.collect(Chunk(frames))

    def _overflow(self) -> None:
        if not self.replaying:
            self.release()
        elif self.active:
            self._connection.give_up(1013, "too many messages during the replay; try again")

    def release_after(self, seconds: float) -> None:
        """Release the frames after `seconds`, unless a replay has begun by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        if not self.replaying:
            self.release()

    def write_until(self, offsets: Mapping[Room, Offset]) -> None:
        """Write the frames of these rooms up to the offsets; keep the rest."""
        self._hub.outbox.distribute()
        within, self._frames = _split(self._frames, offsets)
        for frame in within:
            self._writer.collect(Chunk([frame]))

    def forget(self, room: Room) -> None:
        """Drop the frames of a room, which the socket has left."""
        self._frames = [frame for frame in self._frames if _room_of(frame) != room]

    def release(self, replayed: Mapping[Room, Offset] = NOTHING, session: str = "") -> None:
        """Make the writer the member again, and write the frames that were not replayed; once.

        Args:
            replayed: the offset up to which each of these rooms has been replayed.
            session: the hash of the resumed session; frames that exclude it are dropped.

        """
        self.stop()
        if not self.active:
            return
        self._hub.replace(self._writer)  # distributes first, so the last frames are collected here
        _, rest = _split(self._frames, replayed)
        frames = [frame for frame in rest if not _excludes(frame, session)]
        self._frames = []
        if frames:
            self._writer.collect(Chunk(frames))

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


Frames = list[PreparedFrame]


def _split(frames: Frames, offsets: Mapping[Room, Offset]) -> tuple[Frames, Frames]:
    """Return the frames of these rooms up to the offsets, and the rest.

    Numbers can be compared within one epoch only. But the frames of a room are in its order: all
    before one that is within the offset are within it too, whatever their epoch.
    """
    last: dict[Room, int] = {}
    for index, frame in enumerate(frames):
        if frame.stamp is not None:
            emission, offset = frame.stamp
            end = offsets.get(emission.room)
            if end is not None and offset.epoch == end.epoch and offset.seq <= end.seq:
                last[emission.room] = index
    within: Frames = []
    rest: Frames = []
    for index, frame in enumerate(frames):
        known = frame.stamp is not None and index <= last.get(frame.stamp[0].room, -1)
        (within if known else rest).append(frame)
    return within, rest


def _room_of(frame: PreparedFrame) -> Room | None:
    return None if frame.stamp is None else frame.stamp[0].room


def _excludes(frame: PreparedFrame, session: str) -> bool:
    return frame.stamp is not None and frame.stamp[0].except_session == session != ""
