"""What travels between workers: rooms, emissions and replays. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wsroom.logs import about
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import SOCKET_ID_PREFIX

EMIT = "emit"
RESYNC = "resync"
PRESENCE = "presence"


class Room(NamedTuple):
    """A room: its concrete path, and its name there; the name "" is the path itself."""

    path: str
    name: str

    def describe(self) -> str:
        """Return what it is, for logs."""
        if not self.name:
            return f"the path {self.path}"
        if self.name.startswith(SOCKET_ID_PREFIX):
            of = "worker" if not self.path else "socket"
            return f"{of} {self.name}"
        return f"room {self.name!r} on {self.path}"

    def log_extra(self) -> dict[str, str]:
        """Return the `extra` of a log line about it."""
        if self.name.startswith(SOCKET_ID_PREFIX):
            return about(path=self.path, socket_id=self.name)
        return about(path=self.path, room=self.name)


class Emission(NamedTuple):
    """One emitted message, for the members of a room, of several rooms, or of a path."""

    room: Room
    """Its room. The name is "" for a whole path and for several rooms, or the id of one socket."""
    payload: bytes
    """The server frame's JSON, without an offset."""
    rooms: tuple[str, ...] = ()
    """If it is for several rooms, their names: each member of any of them gets one copy."""
    except_socket: str = ""
    """The id of a socket that does not get it."""
    except_session: str = ""
    """The hash of that socket's session, which stays the same when it reconnects."""
    except_rooms: tuple[str, ...] = ()
    """Names of rooms whose members, at the time of delivery, do not get it."""
    kind: str = EMIT
    """EMIT, or RESYNC if an adapter reports that it has lost emissions of `room`. It delivers that
    with the offset from which the room continues; with None if the path of `room` is "".
    PRESENCE if it is a change of the room's members (`wsroom.wire.presence.Notice`): it has no
    offset; without a payload, changes may have been lost. Other kinds moderate (moderation.py):
    adapters carry them like messages. Workers ignore kinds that they do not know."""
    version: int = 1
    """The version of these fields, for workers of different releases that share a server."""
    volatile: bool = False
    """Whether it may be lost: it has no offset, is in no history, and is delivered at most once,
    in order with the other emissions of its sequence. An adapter that cannot deliver it at once
    drops it."""

    @property
    def sequence(self) -> Room:
        """The room whose order and history the emission is part of.

        For a message to one socket it is the room of that socket's worker, to which the worker has
        been subscribed since its start: the path "", and the part of the id before the point.
        """
        if self.room.name.startswith(SOCKET_ID_PREFIX):
            return Room("", self.room.name.partition(".")[0])
        return self.room


class Past(NamedTuple):
    """The emissions of a room since an offset, or its last ones, read from its history."""

    offset: Offset | None
    """The room's current offset: later emissions are delivered live. None without a history."""
    complete: bool
    """Whether `emissions` are all that was asked for and is kept; if not, they are empty."""
    emissions: tuple[tuple[Emission, Offset], ...] = ()
    """Emissions with their offsets, in order."""
    times: tuple[int | None, ...] = ()
    """When each of the emissions was published, in milliseconds since the epoch; None if that is
    unknown. Empty if the adapter knows no times."""


Deliver = Callable[[Emission, Offset | None], None]
"""A function that takes an emission and its offset, and returns at once.

The offset is None without a history, for a message to one socket, and for a volatile emission.
"""
