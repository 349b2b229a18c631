"""The table of the members of one room, in memory. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wsroom.wire.presence import (
    Bury,
    Card,
    Enter,
    Leave,
    Notice,
    PresenceAnswer,
    PresenceTable,
    Step,
    Update,
    changed_card,
)


class _Socket(NamedTuple):
    worker: str
    member: str


class Table:
    """The members of a room, and their sockets.

    Args:
        epoch: a name that no other table has.

    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._position = 0
        self._sockets: dict[str, _Socket] = {}
        self._cards: dict[str, Card] = {}
        self._counts: dict[str, int] = {}  # sockets of each member
        self._graces: dict[str, float] = {}  # of sockets: when they end
        self._before: dict[str, Card | None] = {}  # cards that the current change has changed

    def __bool__(self) -> bool:
        return bool(self._sockets)

    def change(self, worker: str, steps: Iterable[Step], now: float) -> Notice | None:
        """Carry out the steps of a worker; return what has changed, if anything has."""
        self._before, graces = {}, dict(self._graces)
        for socket, deadline in graces.items():
            if deadline <= now:
                self._remove(socket)
        for step in steps:
            self._carry_out(worker, step, now)
        changed = {
            member: self._cards.get(member)
            for member, card in self._before.items()
            if card != self._cards.get(member)
        }
        if not changed and self._graces == graces:
            return None
        self._position += 1
        return Notice(self._epoch, self._position, changed, worker, self._due(now))

    def answer(self, now: float, *, whole: bool) -> PresenceAnswer:
        """Return the state of the table."""
        table = None
        if whole:
            connected = self._sockets.keys() - self._graces
            workers = frozenset(self._sockets[socket].worker for socket in connected)
            table = PresenceTable(dict(self._cards), workers)
        epoch = self._epoch if self._position else ""
        return PresenceAnswer(epoch, self._position, self._due(now), table)

    def bury(self, worker: str) -> None:
        """Remove the sockets of a worker, except those in grace."""
        for socket, known in list(self._sockets.items()):
            if known.worker == worker and socket not in self._graces:
                self._remove(socket)

    def _carry_out(self, worker: str, step: Step, now: float) -> None:
        if isinstance(step, Enter):
            self._enter(worker, step)
        elif isinstance(step, Bury):
            self.bury(step.worker)
        elif (known := self._sockets.get(step.socket)) is None:
            return
        elif isinstance(step, Update):
            self._set(known.member, changed_card(self._cards[known.member], step.values))
        elif isinstance(step, Leave) and not step.grace:
            self._remove(step.socket)
        else:
            self._graces.setdefault(step.socket, now + step.grace)

    def _enter(self, worker: str, step: Enter) -> None:
        known = self._sockets.get(step.socket)
        if known is not None and known.member != step.member:
            self._remove(step.socket)
        if step.socket not in self._sockets:
            self._counts[step.member] = self._counts.get(step.member, 0) + 1
        self._sockets[step.socket] = _Socket(worker, step.member)
        self._graces.pop(step.socket, None)
        for socket in list(self._graces):
            if self._sockets[socket].member == step.member:
                self._remove(socket)
        self._set(step.member, step.card)

    def _set(self, member: str, card: Card) -> None:
        self._before.setdefault(member, self._cards.get(member))
        self._cards[member] = card

    def _remove(self, socket: str) -> None:
        member = self._sockets.pop(socket).member
        self._graces.pop(socket, None)
        self._counts[member] -= 1
        if not self._counts[member]:
            del self._counts[member]
            card = self._cards.pop(member)
            self._before.setdefault(member, card)

    def _due(self, now: float) -> float | None:
        return max(0.0, min(self._graces.values()) - now) if self._graces else None
