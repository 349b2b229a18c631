"""Joins, and those that wait for the adapter's confirmation. No I/O and no asyncio here.

Handlers can run concurrently, so several joins of one socket to one room may wait at a time, and
the socket may leave the room and join it again meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

from wsroom.errors import AdapterError
from wsroom.wire.offsets import Offset


class LeftMeanwhile(AdapterError):
    """A room was left before the join to it was done."""


class Joined(NamedTuple):
    """The outcome of a join."""

    new: bool
    """Whether this join put the member into the room."""
    since: Offset | None
    """The member gets everything emitted after this offset; None without a history."""
    now: Offset | None
    """Everything emitted up to this offset has been delivered to the member already."""
    first: Offset | None = None
    """The first emission that was delivered to the member before the join was confirmed."""


class PendingJoin:
    """One member's entry into a room, shared by all its joins that wait for confirmation."""

    __slots__ = ("confirmed", "first", "waiting")

    def __init__(self) -> None:
        self.confirmed: bool | None = None
        """True after the first confirmation; False if the room was left before it."""
        self.first: Offset | None = None
        """The offset of the first emission that was delivered to the room before that."""
        self.waiting = 0
        """The number of joins that wait."""


class PendingJoins:
    """The joins to one room that wait for confirmation."""

    __slots__ = ("_undecided", "latest", "waiting")

    def __init__(self) -> None:
        self.latest: Offset | None = None
        """The offset of the last emission that was delivered to the room meanwhile."""
        self.waiting = 0
        """The number of joins that wait."""
        self._undecided: dict[str, PendingJoin] = {}

    def begin(self, id: str, entered: bool) -> PendingJoin | None:
        """Begin to wait with a join of the member `id`; None if an earlier one was confirmed.

        Args:
            id: the id of the socket.
            entered: whether this join put it into the room.

        """
        self.waiting += 1
        if entered:
            self._undecided[id] = PendingJoin()
        join = self._undecided.get(id)
        if join is not None:
            join.waiting += 1
        return join

    def note_delivery(self, offset: Offset) -> None:
        """Note that an emission was delivered to the room."""
        self.latest = offset
        for join in self._undecided.values():
            if join.first is None:
                join.first = offset

    def confirm(self, id: str, join: PendingJoin | None) -> bool:
        """Note that a join was confirmed; returns whether it is the member's first."""
        self.waiting -= 1
        if join is None or join.confirmed is not None:
            return False
        join.confirmed = True
        del self._undecided[id]
        return True

    def fail(self, join: PendingJoin | None) -> bool:
        """Note that a join failed; returns whether the member must leave the room.

        It must not if it left and entered again, if another join waits, or if one was confirmed.
        """
        self.waiting -= 1
        if join is None:
            return False
        join.waiting -= 1
        return join.confirmed is None and not join.waiting

    def leave(self, id: str) -> None:
        """Note that the member left the room: its waiting joins do not count any more."""
        join = self._undecided.pop(id, None)
        if join is not None:
            join.confirmed = False
