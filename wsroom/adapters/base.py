"""What an adapter promises. tests/adapters/contract.py holds every adapter to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from wsroom.protocol import SOCKET_ID_PREFIX
from wsroom.rooms import Room

EMIT = "emit"
RESYNC = "resync"


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

    offset: str | None
    """Where the room stands: what comes after it is delivered live. None without a history."""
    complete: bool
    """Whether `emissions` is all that happened since; where it is False they are empty."""
    emissions: tuple[tuple[Emission, str], ...] = ()
    """Emissions with their offsets, in order."""


Deliver = Callable[[Emission, str | None], None]
"""Takes an emission and its offset; returns at once.

The offset is None where no history is kept, and for what is for one socket.
"""


class Adapter(ABC):
    """Carries emissions from any worker to all workers, in one order for each room."""

    shared: bool = True
    """Whether workers in different processes reach each other through it."""

    @property
    def healthy(self) -> bool:
        """Whether its broker can be reached."""
        return True

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """Begin to call `deliver`, on the running event loop, with what is published from now on.

        Raises AdapterError where the broker cannot be reached.
        """

    @abstractmethod
    async def stop(self, deliver: Deliver) -> None:
        """End it: when this has returned, `deliver` is not called any more."""

    def abandon(self, deliver: Deliver) -> None:  # noqa: B027 (most have nothing to forget)
        """Forget the start with this `deliver`, whose event loop has ended.

        Nothing can be awaited there any more. What follows is a `start` on another loop, if
        anything; the start that is forgotten may not have been finished.
        """

    @abstractmethod
    async def publish(self, emission: Emission) -> None:
        """Carry `emission`, once, to every worker that has subscribed to its sequence, and here.

        All of them see the emissions of a sequence in one order; those of one caller in its order.
        Raises AdapterError where that cannot be said to have happened.
        """

    @abstractmethod
    async def subscribe(self, room: Room) -> str | None:
        """Return once this worker hears `room`, with the offset at which it stands.

        Idempotent: called at every join. Nothing published after it returned passes by. The offset
        is None where no history is kept. Raises AdapterError where the broker does not confirm.
        """

    async def read(self, room: Room, since: str) -> Past:
        """Tell what happened in a subscribed `room` since the offset, if a history is kept.

        When it has returned, this worker has been delivered everything up to `Past.offset`.
        300 emissions or 1 MiB are the most; more is not complete. Raises AdapterError where the
        broker cannot be reached.
        """
        return Past(None, complete=False)

    @abstractmethod
    def unsubscribe(self, room: Room) -> None:
        """Note that this worker has no member in `room` any more; never waits, never raises."""
