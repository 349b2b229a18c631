"""Moderates the sockets of this worker: takes them out of rooms, closes them, asks guards again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from wsroom.delivery.hub import Hub
from wsroom.delivery.writer import Writer
from wsroom.tasks import HANDLING
from wsroom.wire.emission import RESYNC, Emission, Room
from wsroom.wire.moderation import KINDS, Close, Leave, read_order

logger = logging.getLogger("wsroom")

CONCURRENT = 32
"""Guards that are asked again at a time."""

REMEMBERED = 1000
"""Emissions of the kind LEAVE whose second copy is recognized."""


class Grant:
    """A guard's permission: it lasts from a join of the client until the socket leaves the room."""

    __slots__ = ("room",)

    def __init__(self, room: str) -> None:
        self.room = room
        """The name of the room."""


class ModeratedConnection(Protocol):
    """What the moderation needs of a connection."""

    id: str
    grants: tuple[Grant, ...]
    """The permissions of the rooms that it is in, without those that the app put it into."""

    def expel(self, room: str) -> None:
        """Leave a room, and end the joins to it that are under way; notify the client."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""

    async def recheck(self, grant: Grant) -> None:
        """Ask the guard again, and leave the room if it refuses; raises only CancelledError."""


class Moderation:
    """Carries out the emissions that moderate, for the sockets of this worker.

    After a loss of messages (RESYNC) it asks the guards of the room again, since the loss may
    include an emission of the kind LEAVE.
    """

    def __init__(self, hub: Hub) -> None:
        self.losses = 0
        """How often messages were lost. If it has changed since the guard of a join was asked, the
        loss may include what should have ended that join."""
        self._hub = hub
        self._connections: dict[str, ModeratedConnection] = {}
        self._done: dict[str, None] = {}  # ids of Leave, the oldest first
        self._waiting: dict[Grant, ModeratedConnection] = {}  # to be asked again, in order
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        hub.moderate = self.carry_out

    def add(self, connection: ModeratedConnection) -> None:
        """Moderate a connection, until `remove`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A mounted app is not notified when its loop ends and another one begins.
            self._loop = loop
            self._connections.clear()
            self._waiting.clear()
            self._tasks.clear()
        self._connections[connection.id] = connection

    def remove(self, connection: ModeratedConnection) -> None:
        """Do not moderate a connection any more: it has ended."""
        self._connections.pop(connection.id, None)

    async def stop(self) -> None:
        """Ask no more guards."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def carry_out(self, emission: Emission) -> None:
        """Carry an emission out, at once except for the guards; ignores other kinds."""
        if emission.kind == RESYNC:
            self.losses += 1
            rooms = frozenset({emission.room.name} - {""})
            self._recheck(self._connections_of(self._hub.rooms.members(emission.room)), rooms)
        if emission.kind not in KINDS:
            return
        try:
            order, chosen = read_order(emission), self._chosen(emission)
        except ValueError as exc:
            room = emission.room
            logger.warning("ignored in %s: %s", room.describe(), exc, extra=room.log_extra())
            return
        if isinstance(order, Leave):
            if not self._is_done(order.id):
                for connection in chosen:
                    connection.expel(order.room)
        elif isinstance(order, Close):
            for connection in chosen:
                connection.close(order.code, order.reason)
        else:
            self._recheck(chosen, order.rooms)

    def _is_done(self, id: str) -> bool:
        # With the second copy, a client that has been let in again would be taken out again. All
        # that the first one found here was ended by it, and what came later is the guard's matter.
        if id in self._done:
            return True
        self._done[id] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        return False

    def _chosen(self, emission: Emission) -> list[ModeratedConnection]:
        recipients = self._hub.recipients
        # The room of the emission only gives it its place in a sequence.
        emission = emission._replace(room=Room(emission.room.path, ""))
        return self._connections_of(recipients.exclude(recipients.of(emission), emission))

    def _connections_of(self, members: Iterable[Writer]) -> list[ModeratedConnection]:
        found = (self._connections.get(member.id) for member in members)
        return [connection for connection in found if connection is not None]

    # -- asking guards again ---------------------------------------------------------------

    def _recheck(self, chosen: Iterable[ModeratedConnection], rooms: frozenset[str]) -> None:
        for connection in chosen:
            for grant in connection.grants:
                if not rooms or grant.room in rooms:
                    self.recheck(connection, grant)

    def recheck(self, connection: ModeratedConnection, grant: Grant) -> None:
        """Ask the guard again, soon."""
        self._waiting[grant] = connection
        if len(self._tasks) < CONCURRENT:
            task = asyncio.get_running_loop().create_task(self._ask_waiting(), name=HANDLING)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask_waiting(self) -> None:
        while self._waiting:
            grant = next(iter(self._waiting))
            await self._waiting.pop(grant).recheck(grant)
            await asyncio.sleep(0)  # a guard may never suspend
