"""A worker's position in one sequence, and how it handles the records that it receives.

No I/O and no asyncio here.
"""

from __future__ import annotations

from enum import Enum

from wsroom.adapters.redis.codec import Record, VolatileRecord, begins_after
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset

PUBLISHERS = 256
"""Publishers whose last number is remembered for each sequence."""

MOST_BUFFERED = 1000, 4 * 1024 * 1024
"""The most records, and bytes of them, that are buffered while the history is read.

Further ones are read from the history again.
"""


class Verdict(Enum):
    """How to handle a record that was received."""

    DELIVER = "it is the next one"
    DROP = "it was delivered before"
    BUFFERED = "the history is being read; the record comes after it"
    GAP = "records before it are missing: read the history"


class Feed:
    """One sequence that this worker has subscribed to.

    It is `live` while it has no gap. At its start and after a gap the history is read; records that
    are received meanwhile are buffered, and come after it.
    """

    def __init__(self, room: Room, channel: str) -> None:
        self.room = room
        self.channel = channel
        self.place: str | None = None
        """The place where it is subscribed; None if no server has its channel now."""
        self.epoch: str | None = None
        """None until the position is known."""
        self.seq = 0
        """The number of the last record that was delivered."""
        self.live = False
        self.problem: Exception | None = None
        """Why it is not live: the history could not be read. None if it is not known."""
        self.buffered: list[Record] = []
        """Records that were received while the history was being read."""
        self.interrupted_at = 0.0
        """When it was last live, in seconds of the event loop's clock."""
        self.lost_at = -1.0
        """When it was last reported that messages were lost."""
        self.overflowed = False
        """Whether some of them had to be dropped."""
        self._buffered_bytes = 0
        self._numbers: dict[str, int] = {}

    @property
    def offset(self) -> Offset:
        """The position, as clients get it."""
        return Offset(self.epoch or "", self.seq)

    def judge(self, record: Record) -> Verdict:
        """Decide how to handle a record that was received."""
        if not self.live:
            self._buffered_bytes += len(record.emission.payload)
            most, most_bytes = MOST_BUFFERED
            if len(self.buffered) < most and self._buffered_bytes <= most_bytes:
                self.buffered.append(record)
            else:
                self.overflowed = True
            return Verdict.BUFFERED
        if record.epoch == self.epoch:
            if record.seq == self.seq + 1:
                return Verdict.DELIVER
            if record.seq <= self.seq and self._knows(record):
                return Verdict.DROP
        elif record.seq == 1 and self.seq == 0 and begins_after(self.epoch, record.epoch):
            return Verdict.DELIVER
        # Also if its number is lower: a server that lost its last seconds uses numbers again.
        return Verdict.GAP

    def accepts(self, record: VolatileRecord) -> bool:
        """Decide whether to deliver a volatile emission: only in its place in the sequence."""
        return self.live and self._numbers.get(record.publisher, 0) >= record.after

    def advance(self, record: Record) -> bool:
        """Move the position to `record`; return False if its emission was delivered before.

        That happens if a server forgot that it had carried out an emission, and did it again.
        """
        self.epoch, self.seq = record.epoch, record.seq
        if self._knows(record):
            return False
        if len(self._numbers) >= PUBLISHERS:
            del self._numbers[next(iter(self._numbers))]
        self._numbers.pop(record.publisher, None)  # so that the least recent publisher is the first
        self._numbers[record.publisher] = record.number
        return True

    def _knows(self, record: Record) -> bool:
        return self._numbers.get(record.publisher, -1) >= record.number

    def interrupt(self, now: float) -> None:
        """Stop being live: records may be missing, so the history must be read."""
        if self.live:
            self.interrupted_at = now
        self.live = False
        self.buffered = []
        self._buffered_bytes = 0
        self.overflowed = False

    def resume(self) -> list[Record]:
        """Be live again, after the history was read; return the buffered records that follow it."""
        self.live, self.problem = True, None
        buffered, self.buffered = self.buffered, []
        return [one for one in buffered if one.epoch != self.epoch or one.seq > self.seq]
