"""The hub of a worker: joining rooms, publishing to the adapter and delivering to sockets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Set
from threading import get_ident

from wsroom.adapters.base import Adapter
from wsroom.adapters.presence import read_members
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.membership import Rooms
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.pending_joins import Joined, LeftMeanwhile, PendingJoin, PendingJoins
from wsroom.delivery.recipients import Recipients
from wsroom.delivery.writer import Writer
from wsroom.errors import AdapterError
from wsroom.limits import Limits
from wsroom.shared_start import SharedStart
from wsroom.stats import Counters
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import EMIT, PRESENCE, RESYNC, Emission, Room
from wsroom.wire.encoding import EmitCheck, JsonDefault, to_json
from wsroom.wire.names import NameChecker
from wsroom.wire.offsets import Offset
from wsroom.wire.presence import Cards
from wsroom.wire.protocol import SOCKET_ID_PREFIX, encode_resync, with_offset

# With the memory adapter a handler that emits in a loop would block the event loop.
YIELD_EVERY = 64


def _publish_now_of(adapter: Adapter) -> Callable[[Emission], None] | None:
    # An adapter that delivers at once may spare each emit its coroutines. A subclass with another
    # `publish` does not mean that method.
    if "publish" not in vars(adapter):
        for cls in type(adapter).__mro__:
            if "publish" in vars(cls):
                return getattr(adapter, "publish_now", None) if "publish_now" in vars(cls) else None
    return None


class Hub:
    """Connects the rooms of this worker with those of other workers, through the adapter."""

    def __init__(
        self,
        adapter: Adapter,
        limits: Limits,
        timing: Timing = DEFAULT_TIMING,
        json_default: JsonDefault = to_json,
    ) -> None:
        self.adapter = adapter
        self.limits = limits
        self._timing = timing
        self.counters = Counters()
        """What is counted for all sockets together."""
        self.outbox = self._make_outbox()
        self.rooms: Rooms[Writer] = Rooms()
        """The rooms of this worker's sockets."""
        self.members: dict[str, Writer] = {}
        """The writers of this worker's sockets, or what replaces them, by id."""
        self.recipients = Recipients(self.rooms, self.members)
        self.name_checker = NameChecker(limits)
        """Checks the names of emitted events, and of the rooms that they are emitted to."""
        self.json_default = json_default
        """Converts values in messages that JSON has no form for."""
        self.has_presence: Callable[[str], bool] | None = None
        """Whether a path has presence, and so two more reserved events; None if none has."""
        self.check_emit: EmitCheck | None = None
        """In debug mode: raises ValueError for a message that is not as the app declares it."""
        self.moderate: Callable[[Emission], None] | None = None
        """Is given the emissions that are no messages."""
        self.receive_presence: Callable[[Room, bytes], None] | None = None
        """Takes what is delivered about the members of a room."""
        self._publish_now = _publish_now_of(adapter)
        self._pending_joins: dict[Room, PendingJoins] = {}
        self._id_prefix = ""
        self._tick = 0
        self._emitted = 0  # in this tick
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None  # to emit on; None if not running
        self._thread = 0  # in which that loop runs
        self._shared_start = SharedStart(self._start, "the app")

    @property
    def running(self) -> bool:
        """Whether the hub has been started and not stopped."""
        return self._loop is not None

    @property
    def stopped(self) -> bool:
        """Whether the hub has been stopped, and not started again."""
        return self._stopped

    @property
    def name(self) -> str:
        """The name of this worker, which no other has: the first part of its sockets' ids."""
        return self._id_prefix[:-1]

    def new_id(self) -> str:
        """Return an id for a new socket. It names this worker, so that others can publish to it."""
        return self._id_prefix + secrets.token_hex(8)

    async def start(self) -> None:
        """Start the adapter and deliver its emissions; does nothing if the hub is running.

        Concurrent calls share one attempt, which goes on if a caller is cancelled.

        Raises:
            AdapterError: the broker cannot be reached.

        """
        self._stopped = False
        self._forget_closed_loop()
        if self._loop is not None:
            self._loop = asyncio.get_running_loop()
            self._thread = get_ident()
        else:
            await self._shared_start.wait()

    async def _start(self) -> None:
        # Made here, not with the hub: processes are forked from one that has a hub.
        self._id_prefix = f"{SOCKET_ID_PREFIX}{secrets.token_hex(4)}."
        await self.adapter.start(self.deliver)
        try:
            await self.adapter.subscribe(Room("", self.name))
        except BaseException:
            await self.adapter.stop(self.deliver)
            raise
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def _forget_closed_loop(self) -> None:
        # A mounted app is not notified when its loop ends; nothing there can be awaited any more.
        if self._shared_start.loop_closed:
            self._shared_start.forget()
            self.adapter.abandon(self.deliver)
            if self._loop is None or self._loop.is_closed():
                self.outbox = self._make_outbox()
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
        """Add a socket, so that it can be reached by its id."""
        self.members[member.id] = member

    def _make_outbox(self) -> Outbox:
        limits = self.limits
        return Outbox(limits.write_buffer, self._timing, limits.unsent, self.counters)

    async def join(self, member: Writer, name: str) -> Joined:
        """Return once `member` is sure to get everything that is emitted to the room from now on.

        A member that was removed, before or meanwhile, joins nothing.

        Raises:
            AdapterError: the broker did not confirm, or the room was left meanwhile (then it is
                LeftMeanwhile); this join has not put the member into the room.

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
        except BaseException as exc:
            left = self._left(member, room, join)
            if pending.fail(join):
                self.leave(member, name)
            if left and isinstance(exc, AdapterError):
                raise LeftMeanwhile(f"room {name!r} was left before the join was done") from exc
            raise
        else:
            new = pending.confirm(member.id, join)
        finally:
            if not pending.waiting:
                del self._pending_joins[room]
        now = pending.latest or since
        if member.id not in self.members:
            return Joined(False, since, now)
        if self._left(member, room, join):
            raise LeftMeanwhile(f"room {name!r} was left before the join was done")
        return Joined(new, since, now, None if join is None else join.first)

    def _left(self, member: Writer, room: Room, join: PendingJoin | None) -> bool:
        gone = room not in self.rooms.of(self._current(member))
        return gone or (join is not None and join.confirmed is False)

    def leave(self, member: Writer, name: str) -> None:
        """Take `member` out of a room at once."""
        room = Room(member.path, name)
        pending = self._pending_joins.get(room)
        if pending is not None:
            pending.leave(member.id)
        self.outbox.distribute()
        if self.rooms.leave(self._current(member), room):
            self.adapter.unsubscribe(room)

    def remove(self, member: Writer) -> None:
        """Take `member` out of all rooms and out of the hub at once."""
        self.outbox.distribute()
        self.outbox.forget(member)
        for room in self.rooms.remove(self.members.pop(member.id, member)):
            self.adapter.unsubscribe(room)

    def replace(self, new: Writer) -> None:
        """Replace the member with the id of `new` by `new`, in all its rooms."""
        self.outbox.distribute()
        self.rooms.replace(self.members[new.id], new)
        self.members[new.id] = new

    def room_names(self, member: Writer) -> frozenset[str]:
        """Return the names of the rooms of `member`, without the path itself."""
        rooms = self.rooms.of(self._current(member))
        return frozenset([room.name for room in rooms if room.name])

    def _current(self, member: Writer) -> Writer:
        return self.members.get(member.id, member)

    def publish_now(self, emission: Emission) -> bool:
        """Publish an emission without waiting; return False if `publish` must do it."""
        loop = self._loop
        # If the loop runs and this is its thread, it is the running one. `get_running_loop` takes a
        # system call in Python 3.11.
        if self._publish_now is None or loop is None or get_ident() != self._thread:
            return False
        if not loop.is_running():
            return False
        self._publish_now(emission)
        return True

    async def publish(self, emission: Emission) -> None:
        """Publish an emission through the adapter; yield to the event loop now and then.

        Starts the hub if necessary: an app may emit before its first connection.

        Raises:
            RuntimeError: this is not the event loop that the app runs on, or the app has stopped.
            AdapterError: delivery to all workers could not be confirmed. A volatile emission is
                dropped instead.

        """
        try:
            if asyncio.get_running_loop() is not self._loop:
                await self._start_on_this_loop()
            outbox = self.outbox
            outbox.begin_publish()
            try:
                await self.adapter.publish(emission)
            finally:
                outbox.end_publish()
        except AdapterError:
            if not emission.volatile:
                raise
        if self.should_yield():
            await asyncio.sleep(0)

    async def read_members(self, room: Room) -> Cards:
        """Return the members of a room with presence, on all workers; raises what `publish` does.

        Raises SetupError if the adapter has no presence.
        """
        if asyncio.get_running_loop() is not self._loop:
            await self._start_on_this_loop()
        return await read_members(self.adapter, room)

    async def _start_on_this_loop(self) -> None:
        if self._stopped:
            raise RuntimeError("the app has stopped; emit while it runs")
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "emit on the event loop that the app runs on; from a thread, "
                "use asyncio.run_coroutine_threadsafe"
            )
        await self.start()

    def should_yield(self) -> bool:
        """Count an emit, and return whether to yield to the event loop after it."""
        if self._tick != self.outbox.ticks:
            self._tick = self.outbox.ticks
            self._emitted = 0
        self._emitted += 1
        return self._emitted % YIELD_EVERY == 0

    def deliver(self, emission: Emission, offset: Offset | None) -> None:
        """Send an emission to its recipients on this worker, one copy each; never waits."""
        if emission.kind != EMIT:
            if emission.kind == RESYNC:
                self._deliver_resync(emission, offset)
            elif emission.kind == PRESENCE:
                if self.receive_presence is not None:
                    self.receive_presence(emission.room, emission.payload)
                return
            if self.moderate is not None:
                self.moderate(emission)
            return
        members = self.recipients.of(emission)
        if not members:
            return
        if offset is None or emission.volatile:
            frame = PreparedFrame(emission.payload, emission.volatile)
        else:
            frame = PreparedFrame(with_offset(emission.payload, offset))
            frame.stamp = emission, offset
            if self._pending_joins and (pending := self._pending_joins.get(emission.room)):
                pending.note_delivery(offset)
        if emission.except_rooms or (emission.except_session and self.recipients.sessions):
            members = self.recipients.exclude(members, emission)
        self.outbox.send(members, frame, self.members.get(emission.except_socket))

    def _deliver_resync(self, emission: Emission, offset: Offset | None) -> None:
        self.counters.gaps_lost += 1
        path, name = emission.room
        members: Set[Writer] = self.rooms.members(emission.room)
        if not path:  # this worker's own sequence: emissions to any of its sockets were lost
            name, offset, members = "", None, set(self.members.values())
        if not members:
            return
        frame = PreparedFrame(encode_resync(name or None, offset))
        if offset is not None:
            frame.stamp = emission, offset
        self.outbox.send(members, frame)
