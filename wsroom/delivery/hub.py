"""This worker's rooms and the adapter: where joining, publishing and delivering meet."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Set
from typing import NamedTuple

from wsroom.adapters.base import Adapter
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.membership import Rooms
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.pending_joins import PendingJoins
from wsroom.delivery.recipients import Recipients
from wsroom.delivery.writer import Writer
from wsroom.errors import AdapterError
from wsroom.limits import Limits
from wsroom.shared_start import SharedStart
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import EMIT, RESYNC, Emission, Room
from wsroom.wire.names import NameChecker
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import SOCKET_ID_PREFIX, encode_resync, with_offset

# A handler that emits in a loop never waits for anything; without this the worker would stand.
YIELD_EVERY = 64


class Joined(NamedTuple):
    """How a join went."""

    new: bool
    """Whether it put the member into the room."""
    since: Offset | None
    """The offset after which all that is emitted comes; None where no history is kept."""
    now: Offset | None
    """The offset up to which all of that has come already."""


class Hub:
    """The rooms of this worker, joined to those of the other workers by the adapter."""

    def __init__(self, adapter: Adapter, limits: Limits, timing: Timing = DEFAULT_TIMING) -> None:
        self.adapter = adapter
        self.limits = limits
        self._timing = timing
        self.outbox = Outbox(limits.write_buffer, timing)
        self.rooms: Rooms[Writer] = Rooms()
        self.members: dict[str, Writer] = {}
        self.recipients = Recipients(self.rooms, self.members)
        self.name_checker = NameChecker(limits)
        """Checks the names of emitted events, and of the rooms that they are emitted to."""
        self._pending_joins: dict[Room, PendingJoins] = {}
        self._id_prefix = ""
        self._tick = 0
        self._emitted = 0  # in this tick
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None  # to emit on; None if not running
        self._shared_start = SharedStart(self._start, "the app")

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._loop is not None

    @property
    def stopped(self) -> bool:
        """Whether it has been stopped, and not started again."""
        return self._stopped

    def new_id(self) -> str:
        """Make a socket's id: it names this worker, so that others know where to send."""
        return self._id_prefix + secrets.token_hex(8)

    async def start(self) -> None:
        """Begin to deliver what the adapter carries; does nothing where it has begun.

        Whoever calls it meanwhile shares the attempt, which goes on though a caller is cancelled.

        Raises:
            AdapterError: the broker cannot be reached.

        """
        self._stopped = False
        self._forget_closed_loop()
        if self._loop is not None:
            self._loop = asyncio.get_running_loop()
        else:
            await self._shared_start.wait()

    async def _start(self) -> None:
        # Made here, not with the hub: processes are forked from one that has a hub.
        self._id_prefix = f"{SOCKET_ID_PREFIX}{secrets.token_hex(4)}."
        await self.adapter.start(self.deliver)
        try:
            await self.adapter.subscribe(Room("", self._id_prefix[:-1]))
        except BaseException:
            await self.adapter.stop(self.deliver)
            raise
        self._loop = asyncio.get_running_loop()

    def _forget_closed_loop(self) -> None:
        # A mounted app is not notified when its loop ends; nothing there can be awaited any more.
        if self._shared_start.loop_closed:
            self._shared_start.forget()
            self.adapter.abandon(self.deliver)
            if self._loop is None or self._loop.is_closed():
                self.outbox = Outbox(self.limits.write_buffer, self._timing)
                self.rooms.clear()
                self.members.clear()
            self._loop = None

    async def stop(self) -> None:
        """Stop delivering, and end a start that is under way; a later `start` is possible."""
        self.outbox.stop()
        self._stopped = True
        self._forget_closed_loop()
        await self._shared_start.cancel()
        if self._loop is not None:
            self._loop = None
            await self.adapter.stop(self.deliver)

    def add(self, member: Writer) -> None:
        """Make `member` reachable by its id."""
        self.members[member.id] = member

    async def join(self, member: Writer, name: str) -> Joined:
        """Return once nothing emitted to the room from now on can pass `member` by.

        A member that was removed, before or meanwhile, is put into nothing.

        Raises:
            AdapterError: the broker did not confirm, or the room was left meanwhile; this join has
                not put the member into the room.

        """
        current = self.members.get(member.id)
        if current is None:
            return Joined(False, None, None)
        room = Room(member.path, name)
        # The member enters first, so that it gets what the broker sends right after confirming.
        self.outbox.distribute()
        entered = self.rooms.join(current, room)
        pending = self._pending_joins.setdefault(room, PendingJoins())
        join = pending.begin(member.id, entered)
        try:
            since = await self.adapter.subscribe(room)
        except BaseException:
            if pending.fail(join):
                self.leave(member, name)
            raise
        else:
            new = pending.confirm(member.id, join)
        finally:
            if not pending.waiting:
                del self._pending_joins[room]
        if member.id in self.members:
            gone = room not in self.rooms.of(self._current(member))
            if gone or (join is not None and not join.confirmed):
                raise AdapterError(f"room {name!r} was left before the join was done")
        else:
            new = False
        return Joined(new, since, pending.latest or since)

    def leave(self, member: Writer, name: str) -> None:
        """Take `member` out of a room, at once."""
        room = Room(member.path, name)
        pending = self._pending_joins.get(room)
        if pending is not None:
            pending.leave(member.id)
        self.outbox.distribute()
        if self.rooms.leave(self._current(member), room):
            self.adapter.unsubscribe(room)

    def remove(self, member: Writer) -> None:
        """Take `member` out of everything, at once."""
        self.outbox.distribute()
        self.outbox.forget(member)
        for room in self.rooms.remove(self.members.pop(member.id, member)):
            self.adapter.unsubscribe(room)

    def replace(self, new: Writer) -> None:
        """Let `new` stand for the member of the same id, in all its rooms, from now on."""
        self.outbox.distribute()
        self.rooms.replace(self.members[new.id], new)
        self.members[new.id] = new

    def room_names(self, member: Writer) -> frozenset[str]:
        """The names of the rooms of `member`, without the path itself."""
        rooms = self.rooms.of(self._current(member))
        return frozenset([room.name for room in rooms if room.name])

    def _current(self, member: Writer) -> Writer:
        return self.members.get(member.id, member)

    async def publish(self, emission: Emission) -> None:
        """Hand an emission to the adapter; every now and then let others run.

        It starts the hub where nothing has: an app may emit before its first connection.

        Raises:
            RuntimeError: this is not the event loop that the app runs on, or the app has stopped.
            AdapterError: it cannot be said to have been carried to all workers.

        """
        if asyncio.get_running_loop() is not self._loop:
            await self._start_current()
        outbox = self.outbox
        outbox.expect()
        try:
            await self.adapter.publish(emission)
        finally:
            outbox.came()
        if self.should_yield():
            await asyncio.sleep(0)

    async def _start_current(self) -> None:
        if self._stopped:
            raise RuntimeError("the app has stopped; nobody is left to emit to")
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "emit on the event loop that the app runs on; from a thread "
                "asyncio.run_coroutine_threadsafe leads there"
            )
        await self.start()

    def should_yield(self) -> bool:
        """Whether it is time to let the event loop run, between emits that never wait."""
        if self._tick != self.outbox.ticks:
            self._tick = self.outbox.ticks
            self._emitted = 0
        self._emitted += 1
        return self._emitted % YIELD_EVERY == 0

    def deliver(self, emission: Emission, offset: Offset | None) -> None:
        """Send an emission to this worker's members, one copy each; never waits for one."""
        if emission.kind != EMIT:
            self._control(emission, offset)
            return
        members = self.recipients.of(emission)
        if not members:
            return
        if offset is None:
            frame = PreparedFrame(emission.payload)
        else:
            frame = PreparedFrame(with_offset(emission.payload, offset))
            frame.stamp = emission, offset
            if self._pending_joins and (pending := self._pending_joins.get(emission.room)):
                pending.latest = offset
        if emission.except_rooms or emission.except_session:
            members = self.recipients.exclude(members, emission)
        self.outbox.send(members, frame, self.members.get(emission.except_socket))

    def _control(self, emission: Emission, offset: Offset | None) -> None:
        if emission.kind != RESYNC:
            return  # from a worker of a later release
        path, name = emission.room
        members: Set[Writer] = self.rooms.members(emission.room)
        if not path:  # this worker's own sequence: what was lost was for anyone of its sockets
            name, offset, members = "", None, set(self.members.values())
        if not members:
            return
        frame = PreparedFrame(encode_resync(name or None, offset))
        if offset is not None:
            frame.stamp = emission, offset
        self.outbox.send(members, frame)
