"""What an adapter promises. tests/adapters/contract.py holds every adapter to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from wsroom.rooms import Room


class Emission(NamedTuple):
    """One emitted message on its way to the members of a room, of several rooms, or of a path."""

    room: Room
    """The sequence it belongs to: its room; the path (name "") for path-wide and several rooms."""
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
    kind: str = "emit"
    """What it asks of the workers that get it."""
    version: int = 1
    """Of this record's layout, for workers of different releases on one broker."""


Deliver = Callable[[Emission, str | None], None]
"""Takes an emission and its offset (None where no history is kept); returns at once."""


class Adapter(ABC):
    """Carries emissions from any worker to all workers, in one order for each room."""

    shared: bool = True
    """Whether workers in different processes reach each other through it."""

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """Begin to call `deliver`, on the running event loop, with what is published from now on.

        Raises AdapterError where the broker cannot be reached.
        """

    @abstractmethod
    async def stop(self, deliver: Deliver) -> None:
        """End it: when this has returned, `deliver` is not called any more."""

    @abstractmethod
    async def publish(self, emission: Emission) -> None:
        """Carry `emission`, once, to every worker that has subscribed to its room, this one too.

        All of them see the emissions of a room in one order; those of one caller in its order.
        Raises AdapterError where that cannot be said to have happened.
        """

    @abstractmethod
    async def subscribe(self, room: Room) -> str | None:
        """Return once this worker hears `room`, with the offset at which it stands.

        Idempotent: called at every join. Nothing published after it returned passes by. The offset
        is None where no history is kept. Raises AdapterError where the broker does not confirm.
        """

    @abstractmethod
    def unsubscribe(self, room: Room) -> None:
        """Note that this worker has no member in `room` any more; never waits, never raises."""
