"""Emissions that moderate sockets instead of being sent to them. No I/O and no asyncio here.

Workers carry them out for their own sockets. `Emission.rooms` has the rooms whose members they are
for, one of them too; if it is empty, they are for everybody on the path.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import orjson

from wsroom.errors import check_close
from wsroom.wire.emission import Emission, Room
from wsroom.wire.protocol import SOCKET_ID_PREFIX

LEAVE = "leave"
DISCONNECT = "disconnect"
RECHECK = "recheck"

KINDS = frozenset({LEAVE, DISCONNECT, RECHECK})
"""The kinds of emissions that moderate."""


class Chosen(NamedTuple):
    """The sockets that an emission is for."""

    path: str
    rooms: tuple[str, ...]
    """Names of rooms, or ids of sockets; if it is empty, everybody on the path."""
    excluded: tuple[str, ...]
    """Names of rooms whose members are left out."""

    def emission(self, kind: str, order: dict[str, Any], sequence: str | None = None) -> Emission:
        """Return an emission in the sequence of a room, or else in that of an emit to `rooms`."""
        if sequence is None:
            sequence = self.rooms[0] if len(self.rooms) == 1 else ""
        return Emission(
            Room(self.path, sequence),
            orjson.dumps(order),
            rooms=self.rooms,
            except_rooms=self.excluded,
            kind=kind,
        )


def leave_emissions(chosen: Chosen, room: str) -> tuple[Emission, Emission]:
    """Return the emissions that take sockets out of a room: the first one on a worker does it.

    One is in the sequence of the room, so that nothing later of the room reaches them. The other
    one is in the path's, for workers on which a join is not done yet: they may not hear the room.

    Raises:
        ValueError: the room is a socket's id.

    """
    if room.startswith(SOCKET_ID_PREFIX):
        raise ValueError(f"room {room!r} is a socket's id, which cannot be left; use disconnect()")
    order = {"room": room, "id": secrets.token_hex(8)}
    return chosen.emission(LEAVE, order, room), chosen.emission(LEAVE, order, "")


def disconnect_emission(chosen: Chosen, code: int, reason: str) -> Emission:
    """Return the emission that closes connections.

    Raises:
        ValueError: the code must not be sent, or the reason is over 123 bytes.

    """
    check_close(code, reason)
    return chosen.emission(DISCONNECT, {"code": code, "reason": reason})


def recheck_emission(chosen: Chosen, rooms: tuple[str, ...]) -> Emission:
    """Return the emission that asks guards again: about `rooms`, or about all rooms if empty."""
    return chosen.emission(RECHECK, {"rooms": rooms})


class Leave(NamedTuple):
    """What an emission of the kind LEAVE says."""

    room: str
    id: str
    """The same in both emissions of one call."""


class Close(NamedTuple):
    """What an emission of the kind DISCONNECT says."""

    code: int
    reason: str


class Recheck(NamedTuple):
    """What an emission of the kind RECHECK says."""

    rooms: frozenset[str]
    """The rooms whose guards are asked; if it is empty, all of them."""


def read_order(emission: Emission) -> Leave | Close | Recheck:
    """Read an emission of one of the KINDS.

    Raises:
        ValueError: it is not from wsroom.

    """
    order = orjson.loads(emission.payload)
    try:
        if emission.kind == LEAVE:
            return Leave(str(order["room"]), str(order["id"]))
        if emission.kind == DISCONNECT:
            check_close(order["code"], order["reason"])
            return Close(order["code"], order["reason"])
        return Recheck(frozenset(map(str, order["rooms"])))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"an invalid emission of the kind {emission.kind!r}: {exc!r}") from None
