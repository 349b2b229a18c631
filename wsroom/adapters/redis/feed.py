"""Where this worker stands in one sequence, and what to do with what it hears.

No I/O and no asyncio here.
"""

from __future__ import annotations

from enum import Enum

from wsroom.adapters.redis.codec import Record
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset

PUBLISHERS = 256
"""Publishers whose last number is remembered for each sequence."""

KEPT = 1000, 4 * 1024 * 1024
"""Records, and bytes of them, that are kept while the history is being read; more are read again.
"""


class Verdict(Enum):
    """What to do with a record that was heard."""

    DELIVER = "it is the next one"
    DROP = "it was delivered before"
    WAIT = "the history is being read; it was kept for later"
    GAP = "something between is missing: read the history"


class Feed:
    """One sequence that this worker hears.

    It is `live` while it is heard without a gap. At its start and after a gap the history is read;
    what is heard meanwhile is kept, and comes after.
    """

    def __init__(self, room: Room, channel: str) -> None:
        self.room = room
        self.channel = channel
        self.place: str | None = None
        """Where it is heard; None where nobody serves it."""
        self.epoch: str | None = None
        """None until the position is known."""
        self.seq = 0
        """The number of what was delivered last."""
        self.live = False
        self.kept: list[Record] = []
        """What was heard while the history was being read."""
        self.overflowed = False
        """Whether some of it had to be dropped."""
        self._kept_bytes = 0
        self._numbers: dict[str, int] = {}

    @property
    def offset(self) -> Offset:
        """The position, as clients get it."""
        return Offset(self.epoch or "", self.seq)

    def judge(self, record: Record) -> Verdict:
        """Decide about a record that was heard."""
        if not self.live:
            self._kept_bytes += len(record.emission.payload)
            if len(self.kept) < KEPT[0] and self._kept_bytes <= KEPT[1]:
                self.kept.append(record)
            else:
                self.overflowed = True
            return Verdict.WAIT
        if record.epoch == self.epoch:
            if record.seq == self.seq + 1:
                return Verdict.DELIVER
            if record.seq <= self.seq and self._knows(record):
                return Verdict.DROP
        # Also where the number is lower: a server that lost its last seconds counts them again.
        return Verdict.GAP

    def advance(self, record: Record) -> bool:
        """Go on to `record`; whether its emission is news, and not one that was carried out again.

        That happens where a server lost its memory of an emission that it had carried out.
        """
        self.epoch, self.seq = record.epoch, record.seq
        news = not self._knows(record)
        if news:
            if len(self._numbers) >= PUBLISHERS:
                del self._numbers[next(iter(self._numbers))]
            self._numbers.pop(record.publisher, None)  # the one heard longest ago is the first
            self._numbers[record.publisher] = record.number
        return news

    def _knows(self, record: Record) -> bool:
        return self._numbers.get(record.publisher, -1) >= record.number

    def break_off(self) -> None:
        """What comes next may not follow what came last: the history is to be read."""
        self.live = False
        self.kept = []
        self._kept_bytes = 0
        self.overflowed = False

    def resume(self) -> list[Record]:
        """The history has been read: hear again; return what was kept and comes after it."""
        self.live = True
        kept, self.kept = self.kept, []
        return [record for record in kept if record.epoch != self.epoch or record.seq > self.seq]
