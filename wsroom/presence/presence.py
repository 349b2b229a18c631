"""The presence of a worker: its rooms with presence, and its signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Set
from typing import Any

from wsroom.adapters.presence import PresenceAdapter
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.errors import AdapterError
from wsroom.limits import Limits
from wsroom.presence.cards import Present
from wsroom.presence.frames import changes, members_answer
from wsroom.presence.liveness import Liveness
from wsroom.presence.replica import Replica
from wsroom.presence.room import RoomPresence
from wsroom.timing import Timing
from wsroom.wire.emission import Room
from wsroom.wire.presence import Notice

logger = logging.getLogger("wsroom")


class Presence:
    """The rooms with presence in which this worker has sockets.

    Args:
        hub: the hub of the worker.
        adapter: its adapter.
        limits: the limits of the app.
        timing: how long it waits for what.

    """

    def __init__(self, hub: Hub, adapter: PresenceAdapter, limits: Limits, timing: Timing) -> None:
        self.adapter = adapter
        self.timing = timing
        self._hub = hub
        self._limits = limits
        self._rooms: dict[Room, RoomPresence] = {}
        self._liveness = Liveness()
        self._number = 0
        self._stamping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = ""
        hub.receive_presence = self.receive

    # -- the sockets of this worker ----------------------------------------------------------

    async def enter(self, room: Room, socket: str, present: Present | None) -> None:
        """Return once a socket is in the room's table; None for one that is not shown.

        Raises:
            AdapterError: the adapter did not confirm. Then call `leave`.

        """
        self._begin(asyncio.get_running_loop())
        found = self._rooms.get(room)
        if found is None:
            found = self._rooms[room] = RoomPresence(self, room)
        await found.enter(socket, present)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop or self._worker != self._hub.name:
            # A mounted app is not notified when its loop ends and another begins.
            self._rooms.clear()
            self._stamping = None
            if self._worker:
                self.adapter.abandon_presence(self._worker)
            self._loop, self._worker = loop, self._hub.name
        if self._stamping is None:
            self._stamping = loop.create_task(self._stamp(), name="wsroom: presence")

    async def ready(self, room: Room) -> None:
        """Return once the members of a room are known; raises AdapterError."""
        found = self._rooms.get(room)
        if found is not None:
            await found.ready()

    async def update(self, room: Room, socket: str, values: Mapping[str, Any]) -> None:
        """Change a socket's card, if it is in the room and shown; raises AdapterError."""
        found = self._rooms.get(room)
        if found is not None:
            await found.update(socket, values)

    def leave(self, room: Room, socket: str, grace: float = 0.0) -> None:
        """Take a socket out of the room's table: at once, or after a grace in seconds."""
        found = self._rooms.get(room)
        if found is not None:
            found.leave(socket, grace)

    def answer(self, room: Room, after: str | None = None) -> dict[str, Any]:
        """Return what a reply has about the members of a room in which this worker has sockets."""
        found = self._rooms.get(room)
        replica = Replica() if found is None else found.replica
        return members_answer(replica, self._limits.members, after)

    # -- for rooms ---------------------------------------------------------------------------

    @property
    def worker(self) -> str:
        """The name of this worker, which no other has."""
        return self._worker

    def next_number(self) -> int:
        """Return a number that is higher than all before."""
        self._number += 1
        return self._number

    def write(self, room: Room, replica: Replica, skip: Set[str]) -> None:
        """Send the changes to the sockets in the room, except `skip`: their replies have them."""
        payload = changes(room.name, replica, self._limits.members)
        if payload is not None:
            members = self._hub.rooms.members(room)
            if skip:
                members = {member for member in members if member.id not in skip}
            self._hub.outbox.send(members, PreparedFrame(payload))

    def ended(self, room: Room) -> None:
        """Forget a room without sockets."""
        self._rooms.pop(room, None)

    # -- what comes from the adapter ---------------------------------------------------------

    def receive(self, room: Room, payload: bytes) -> None:
        """Take over a change of a room's table; without a payload, changes may be missing."""
        found = self._rooms.get(room)
        if found is None:
            return
        try:
            notice = Notice.decode(payload) if payload else None
        except ValueError:
            logger.warning("a change of the members of %s is invalid", room.describe())
            notice = None
        if notice is None:
            found.check()
        else:
            found.receive(notice)

    # -- signs of life -----------------------------------------------------------------------

    async def _stamp(self) -> None:
        loop = asyncio.get_running_loop()
        checked, mine = loop.time(), 0
        while True:
            await asyncio.sleep(self.timing.presence_stamp)
            began = loop.time()
            try:
                counters = await self.adapter.stamp_presence(self.worker)
            except AdapterError:
                self._liveness.interrupt()
                continue
            if loop.time() - began > self.timing.presence_stamp:
                self._liveness.interrupt()  # the connection was lost: others may be late, too
            for room in self._rooms.values():
                for worker in room.replica.workers:
                    self._liveness.expect(worker)
            self._liveness.observe(counters)
            now = loop.time()
            # If its own count was lost, all tables are.
            lost = counters.get(self.worker, 0) < mine
            mine = counters.get(self.worker, 0)
            if lost or now - checked > self.timing.presence_check:
                checked = now
                for room in list(self._rooms.values()):
                    room.check()
            for worker in filter(self._is_dead, counters):
                with contextlib.suppress(AdapterError):
                    await self.adapter.unstamp_presence(worker)
            if counters:
                for room in list(self._rooms.values()):
                    room.bury(self._is_dead)

    def _is_dead(self, worker: str) -> bool:
        return worker != self.worker and self._liveness.dead(worker)

    # -- tests, and the end ------------------------------------------------------------------

    def flush(self) -> None:
        """Send all frames that wait for the end of their interval."""
        for room in list(self._rooms.values()):
            room.flush()

    def end_graces(self) -> None:
        """Let the adapter end the graces that are over."""
        for room in list(self._rooms.values()):
            room.end_graces()

    @property
    def busy(self) -> bool:
        """Whether a change is being made."""
        return any(room.busy for room in self._rooms.values())

    async def stop(self) -> None:
        """Wait for what has to be changed, and end."""
        if self._loop is not asyncio.get_running_loop():
            return
        if self._stamping is not None:
            self._stamping.cancel()
            self._stamping = None
        await asyncio.gather(*(room.finish() for room in list(self._rooms.values())))
        if self._hub.adapter.healthy:
            with contextlib.suppress(AdapterError):
                await self.adapter.unstamp_presence(self._worker)
        self._rooms.clear()
