"""What travels between workers about the members of rooms. No I/O and no asyncio here.

A room with presence has a table: its members with their cards, and the sockets of each member. It
is in one place, the adapter. Each change of what the members see has a position, one higher than
the one before it, and is delivered to the workers as a `Notice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

Card = Mapping[str, Any]
"""What the other members see of a member: an object with an `id`, a string or an integer."""

Cards = Mapping[str, Card]
"""Cards by the keys of the members, which are their ids as JSON: 1 and "1" are two members."""


class Enter(NamedTuple):
    """A socket is present: its member has this card. Sockets of the member in grace are gone."""

    socket: str
    member: str
    """The key of the member."""
    card: Card


class Update(NamedTuple):
    """The member of a socket has other values; None removes one. Nothing if it is not present."""

    socket: str
    values: Mapping[str, Any]


class Leave(NamedTuple):
    """A socket is gone: at once, or after `grace` seconds if its member does not enter before."""

    socket: str
    grace: float = 0.0


class Bury(NamedTuple):
    """A worker is dead: its sockets are gone, except those in grace, which have their time."""

    worker: str


Step = Enter | Update | Leave | Bury


class PresenceTable(NamedTuple):
    """A whole table, as it is at the position of its answer."""

    members: Cards
    workers: frozenset[str]
    """The workers that have sockets in it, except those in grace."""


class PresenceAnswer(NamedTuple):
    """The state of a table after the steps."""

    epoch: str
    """Changes if the table was lost; "" if there is no table."""
    position: int
    """The position of the last notice in that epoch."""
    due: float | None = None
    """Seconds until the next grace ends; None without one."""
    table: PresenceTable | None = None
    """None if it was not asked for."""


class Notice(NamedTuple):
    """One change of a table: the payload of an emission of the kind PRESENCE."""

    epoch: str
    position: int
    members: Mapping[str, Card | None]
    """The members that have changed, with their cards; None for those that have left."""
    worker: str = ""
    """The worker that has made the change."""
    due: float | None = None
    """Seconds until the next grace ends; None without one."""

    def encode(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(self._asdict())

    @classmethod
    def decode(cls, payload: bytes) -> Notice:
        """Read what `encode` returned; raises ValueError if it is something else."""
        values = orjson.loads(payload)
        try:
            return cls(**values)
        except TypeError:
            raise ValueError("not a change of presence") from None


def changed_card(card: Card, values: Mapping[str, Any]) -> Card:
    """Return a card with other values; None removes one."""
    gone = {key for key, value in values.items() if value is None}
    return {key: value for key, value in {**card, **values}.items() if key not in gone}


def member_key(id: str | int) -> str:
    """Return the key of the member with this id."""
    return orjson.dumps(id).decode()
