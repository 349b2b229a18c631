"""What travels between workers: rooms, emissions and replays. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import SOCKET_ID_PREFIX

EMIT = "emit"


RESYNC = "resync"


class Room(NamedTuple):
    """A room's key: the concrete path, and the name on it; the name "" is the path itself."""

    path: str
    name: str


class Emission(NamedTuple):
    """One emitted message on its way to the members of a room, of several rooms, or of a path."""

    room: Room
    """Its room; the path (name "") for path-wide messages and several rooms; a socket's id."""
    payload: bytes
    """The server frame's JSON, without an offset."""
    rooms: tuple[str, ...] = ()
    """Names of the rooms that it is for where those are several: one copy each to their union."""
    except_socket: str = ""
    """The id of a socket that gets none."""
    except_session: str = ""
    """The hash of that socket's session, which it keeps when it reconnects under another id."""
    except_rooms: tuple[str, ...] = ()
    """Names of rooms whose members, as they are at delivery, get none."""
    kind: str = EMIT
    """What it asks of the workers that get it: EMIT, or RESYNC, which an adapter itself delivers
    where it has lost emissions of `room` for good, with the offset from which the room goes on.
    Where `room` is a worker's own sequence, the path is "" and the offset None."""
    version: int = 1
    """Of this record's layout, for workers of different releases on one broker."""

    @property
    def sequence(self) -> Room:
        """The room whose order and history it is part of.

        What is for one socket goes to the room of that socket's worker, which its hub has
        subscribed to from its start: the path "", and the id's part before the point.
        """
        if self.room.name.startswith(SOCKET_ID_PREFIX):
            return Room("", self.room.name.partition(".")[0])
        return self.room


class Past(NamedTuple):
    """What a room's history tells about the time since an offset."""

    offset: Offset | None
    """Where the room stands: what comes after it is delivered live. None without a history."""
    complete: bool
    """Whether `emissions` is all that happened since; where it is False they are empty."""
    emissions: tuple[tuple[Emission, Offset], ...] = ()
    """Emissions with their offsets, in order."""


Deliver = Callable[[Emission, Offset | None], None]
"""Takes an emission and its offset; returns at once.

The offset is None where no history is kept, and for what is for one socket.
"""
