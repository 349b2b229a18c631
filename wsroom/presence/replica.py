"""A worker's copy of the table of one room. No I/O and no asyncio here."""

from __future__ import annotations

from enum import Enum

from wsroom.wire.presence import Card, Notice, PresenceAnswer

MOST_KEPT = 1000
"""Notices that are kept while the table is read; with more it is read again."""


class Outcome(Enum):
    """What has happened to a replica."""

    FOLLOWS = "it has the change"
    KNOWN = "it had the change before"
    GAP = "changes are missing: read the table"
    LOST = "the table was lost and another one has begun: enter its sockets again"


class Replica:
    """The members of a room, as of a position of its table.

    After the table was lost, it shows the members of both tables until `forget_lost`: their
    workers enter them in the new table one after the other.
    """

    def __init__(self) -> None:
        self.cards: dict[str, Card] = {}
        """The cards of the members, by their keys."""
        self.epoch = ""
        self.position = 0
        self.stale = True
        """Whether the table must be read."""
        self.workers: set[str] = set()
        """The workers that may have sockets in the table."""
        self.touched: dict[str, bool] = {}
        """The members that have changed since `take_touched`: whether they were there before."""
        self._lost: set[str] = set()  # members of the former table only
        self._kept: list[Notice] = []

    def receive(self, notice: Notice) -> Outcome:
        """Take over a change; while the table is read, keep it."""
        if notice.worker:
            self.workers.add(notice.worker)
        if self.stale:
            self._kept.append(notice)
            del self._kept[:-MOST_KEPT]
            return Outcome.GAP
        begins = not self.epoch and notice.position == 1
        if not begins and notice.epoch != self.epoch:
            self.stale = True
            self._kept = [notice]
            return Outcome.GAP
        if notice.position <= self.position:
            return Outcome.KNOWN
        if notice.position > self.position + 1:
            self.stale = True
            self._kept = [notice]
            return Outcome.GAP
        self.epoch, self.position = notice.epoch, notice.position
        for member, card in notice.members.items():
            self._set(member, card)
        return Outcome.FOLLOWS

    def load(self, answer: PresenceAnswer) -> Outcome:
        """Take over a whole table, and the changes after it that were kept."""
        assert answer.table is not None
        lost = bool(self.epoch) and answer.epoch != self.epoch
        if not lost and answer.epoch == self.epoch and answer.position < self.position:
            return Outcome.KNOWN  # older than what is known already
        new = answer.table.members
        if lost:
            self._lost |= self.cards.keys() - new.keys()
        self._lost -= new.keys()
        for member in [*self.cards]:
            if member not in new and member not in self._lost:
                self._set(member, None)
        for member, card in new.items():
            if self.cards.get(member) != card:
                self._set(member, card)
        self.epoch, self.position, self.stale = answer.epoch, answer.position, False
        self.workers = set(answer.table.workers)
        kept, self._kept = self._kept, []
        for notice in kept:
            if notice.epoch == self.epoch or (not self.epoch and notice.position == 1):
                self.receive(notice)
        return Outcome.LOST if lost else Outcome.FOLLOWS

    def begin(self, answer: PresenceAnswer) -> None:
        """Load the first table, of which no socket has seen anything: nothing counts as changed."""
        self.cards, self._lost, self.epoch, self.position = {}, set(), "", 0
        self.load(answer)
        self.touched = {}

    def forget_lost(self) -> None:
        """Remove the members that no worker has entered in the new table."""
        lost, self._lost = self._lost, set()
        for member in lost:
            self._set(member, None)

    @property
    def shows_lost(self) -> bool:
        """Whether it shows members of a former table."""
        return bool(self._lost)

    def take_touched(self) -> dict[str, bool]:
        """Return the members that have changed since the last call, and whether they were there."""
        touched, self.touched = self.touched, {}
        return touched

    def _set(self, member: str, card: Card | None) -> None:
        self._lost.discard(member)
        self.touched.setdefault(member, member in self.cards)
        if card is None:
            self.cards.pop(member, None)
        else:
            self.cards[member] = card
