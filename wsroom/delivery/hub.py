"""This worker's rooms and the adapter: where joining, publishing and delivering meet."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Set
from typing import NamedTuple

from wsroom.adapters.base import Adapter
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.membership import Rooms
from wsroom.delivery.outbox import Outbox
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


class _Entry:
    """A member's way into a room, until one of the joins that wait for it is confirmed."""

    __slots__ = ("confirmed", "waiting")

    def __init__(self) -> None:
        self.confirmed = False
        self.waiting = 0


class Hub:
    """The rooms of this worker, joined to those of the other workers by the adapter."""

    def __init__(self, adapter: Adapter, limits: Limits, timing: Timing = DEFAULT_TIMING) -> None:
        self.adapter = adapter
        self.limits = limits
        self._timing = timing
        self.outbox = Outbox(limits.write_buffer, timing)
        self.rooms: Rooms[Writer] = Rooms()
        self.members: dict[str, Writer] = {}
        self.sessions: dict[str, set[str]] = {}
        """Hashes of sessions that were resumed, and the ids of the sockets that did."""
        self.name_checker = NameChecker(limits)
        """Checks the names of emitted events, and of the rooms that they are emitted to."""
        self._entries: dict[tuple[str, Room], _Entry] = {}  # not confirmed, and not left since
        self._joining: dict[Room, int] = {}  # the joins that wait for the adapter
        self._latest: dict[Room, Offset] = {}  # the last offsets delivered to their rooms meanwhile
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
                self.outbox, self.rooms = Outbox(self.limits.write_buffer, self._timing), Rooms()
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
        here = self.members.get(member.id)
        if here is None:
            return Joined(False, None, None)
        room = Room(member.path, name)
        key = member.id, room
        # The member comes first, so that what the broker sends right after its confirmation
        # finds it there.
        self.outbox.distribute()
        if self.rooms.join(here, room):
            self._entries[key] = _Entry()
        entry = self._entries.get(key)
        if entry is not None:
            entry.waiting += 1
        self._joining[room] = self._joining.get(room, 0) + 1
        try:
            since = await self.adapter.subscribe(room)
        except BaseException:
            self._end_join(room)
            if entry is not None:
                entry.waiting -= 1
                # Not where another join has entered since, waits for the same, or is confirmed.
                if not entry.waiting and self._entries.get(key) is entry:
                    self.leave(member, name)
            raise
        now = self._end_join(room) or since
        new = entry is not None and self._entries.get(key) is entry
        if entry is not None and new:
            entry.confirmed = True
            del self._entries[key]
        if member.id not in self.members:
            return Joined(False, since, now)
        gone = room not in self.rooms.of(self._here(member))
        if gone or (entry is not None and not entry.confirmed):
            raise AdapterError(f"room {name!r} was left before the join was done")
        return Joined(new, since, now)

    def _end_join(self, room: Room) -> Offset | None:
        latest = self._latest.get(room)
        self._joining[room] -= 1
        if not self._joining[room]:
            del self._joining[room]
            self._latest.pop(room, None)
        return latest

    def leave(self, member: Writer, name: str) -> None:
        """Take `member` out of a room, at once."""
        room = Room(member.path, name)
        self._entries.pop((member.id, room), None)
        self.outbox.distribute()
        if self.rooms.leave(self._here(member), room):
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
        rooms = self.rooms.of(self._here(member))
        return frozenset([room.name for room in rooms if room.name])

    def _here(self, member: Writer) -> Writer:
        return self.members.get(member.id, member)

    def begin_session(self, id: str, session: str) -> None:
        """The socket `id` goes on with a session: leave it out with those of that hash."""
        self.sessions.setdefault(session, set()).add(id)

    def end_session(self, id: str, session: str) -> None:
        """End what `begin_session` began."""
        ids = self.sessions[session]
        ids.discard(id)
        if not ids:
            del self.sessions[session]

    async def publish(self, emission: Emission) -> None:
        """Hand an emission to the adapter; every now and then let others run.

        It starts the hub where nothing has: an app may emit before its first connection.

        Raises:
            RuntimeError: this is not the event loop that the app runs on, or the app has stopped.
            AdapterError: it cannot be said to have been carried to all workers.

        """
        if asyncio.get_running_loop() is not self._loop:
            await self._start_here()
        outbox = self.outbox
        outbox.expect()
        try:
            await self.adapter.publish(emission)
        finally:
            outbox.came()
        if self.should_yield():
            await asyncio.sleep(0)

    async def _start_here(self) -> None:
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
        members = self._audience(emission)
        if not members:
            return
        if offset is None:
            frame = PreparedFrame(emission.payload)
        else:
            frame = PreparedFrame(with_offset(emission.payload, offset))
            frame.stamp = emission, offset
            if self._joining and emission.room in self._joining:
                self._latest[emission.room] = offset
        if emission.except_rooms:
            path = emission.room.path
            members = members - self._union(path, emission.except_rooms)
        if self.sessions and emission.except_session:
            members = self._without_session(members, emission)
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

    def _without_session(self, members: Set[Writer], emission: Emission) -> Set[Writer]:
        # Most often it is the sender itself, which is left out by its id, at no cost.
        ids = self.sessions.get(emission.except_session, set()) - {emission.except_socket}
        return members - {self.members[id] for id in ids if id in self.members} if ids else members

    def _audience(self, emission: Emission) -> Set[Writer]:
        path, name = emission.room
        if emission.rooms:
            return self._union(path, emission.rooms)
        if name.startswith(SOCKET_ID_PREFIX):
            return self._union(path, (name,))
        return self.rooms.members(emission.room)

    def _union(self, path: str, names: Iterable[str]) -> Set[Writer]:
        union: set[Writer] = set()
        for name in names:
            if not name.startswith(SOCKET_ID_PREFIX):
                union |= self.rooms.members(Room(path, name))
            elif (member := self.members.get(name)) and member.path == path:
                union.add(member)
        return union
