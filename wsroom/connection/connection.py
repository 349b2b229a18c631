"""The state of one WebSocket connection, its rooms, and how it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from wsroom.api.socket import Socket
from wsroom.asgi.types import Receive, Scope, Send
from wsroom.connection.inbox import Inbox, Source
from wsroom.connection.invoker import Invoker
from wsroom.connection.moderation import Grant
from wsroom.connection.session import Session
from wsroom.connection.supervisor import Supervisor, raised_by_app
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Joined, LeftMeanwhile
from wsroom.delivery.writer import TOO_SLOW
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject, check_close
from wsroom.logs import about
from wsroom.presence.cards import Present, read_values
from wsroom.rates import EventRate, Usage
from wsroom.routing.route import Route
from wsroom.tasks import HANDLING
from wsroom.wire import protocol
from wsroom.wire.emission import Room
from wsroom.wire.joins import encode_joined, encode_left
from wsroom.wire.offsets import Offset

logger = logging.getLogger("wsroom")

LEFT = "the room was left before it was joined"

RESTARTING = frozenset({1001, 1012, 1013})
"""Codes with which the server closes sockets that are to come back."""


class _Card:
    """A card that is being made; `left` if the room is left meanwhile."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.left = False


class Connection:
    """Connects a peer, the hub and the app's code; `Socket` is its public interface.

    It must be created in the task in which `Lifecycle` runs it.
    """

    __slots__ = (
        "_asked",
        "_cards",
        "_entered",
        "_hub",
        "_joins_due",
        "_last_rooms",
        "accepted",
        "answered",
        "closed_with",
        "grants",
        "id",
        "inbox",
        "invoker",
        "path",
        "path_params",
        "peer_code",
        "route",
        "scope",
        "session",
        "socket",
        "source",
        "supervisor",
        "tasks",
        "usage",
        "user",
        "worker",
        "writer",
    )

    def __init__(
        self,
        worker: Worker,
        route: Route,
        path: str,
        path_params: dict[str, Any],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.id = worker.hub.new_id()
        self.path = path
        self.path_params = path_params
        self.scope = scope
        self.worker = worker
        self.route = route
        self.socket = Socket(self, {})
        self.invoker = Invoker(worker, route, self, self.socket)
        self.session = Session(worker.hub, self.id)
        self.inbox = Inbox(receive, worker.hub.counters)
        self.source: Source = self.inbox
        """Where its frames come from."""
        self.writer = worker.make_writer(self.id, path, receive, send, self)
        budget = worker.limits.handler_timeout
        self.supervisor = Supervisor(worker.watch, budget, worker.timing, self)
        self.user: Any = None
        """The last value of the `on_connect` functions that is not None."""
        self.accepted = False
        """Whether the handshake is done."""
        self.answered = False
        """Whether the current frame has been answered."""
        self.tasks: set[asyncio.Task[None]] | None = None
        """Handlers that run concurrently with the next frames; None before the first."""
        self.usage: Usage | None = None
        """What it has used of the rates of handlers; None before the first."""
        self.grants: tuple[Grant, ...] = ()
        """The permissions of the rooms that it is in, without those that the app put it into."""
        self.closed_with: tuple[int, str] | None = None
        """The code and reason with which the server closed it."""
        self.peer_code = 1006
        """The code with which the peer disconnected."""
        # Rooms of the client's joins that have not begun yet, because guards are being asked, and
        # `Moderation.losses` then.
        self._asked: Mapping[str, int] | None = None
        self._cards: tuple[_Card, ...] = ()
        self._entered: frozenset[str] = frozenset()  # rooms in whose table it is
        self._hub = worker.hub
        self._joins_due = 0.0
        self._last_rooms: frozenset[str] | None = None

    # -- what the Socket asks for ----------------------------------------------------------

    @property
    def write(self) -> Callable[[PreparedFrame], None]:
        return self.writer.write

    @property
    def rooms(self) -> frozenset[str]:
        return self._hub.room_names(self.writer) if self._last_rooms is None else self._last_rooms

    async def join(self, *rooms: str) -> None:
        for room in rooms:
            error = protocol.room_name_error(room, self.worker.limits)
            if error is None and room.startswith(protocol.SOCKET_ID_PREFIX):
                error = "is a socket's id, which cannot be joined"
            if error:
                raise ValueError(f"room {room!r} {error}; use another name")
        for room in rooms:
            try:
                joined = await self.join_room(room)
            except ProtocolError as exc:
                raise ValueError(exc.detail) from None
            if joined.new and joined.since is not None:
                self.session.note_join(room, joined, opening=not self.accepted)
            if joined.new and self.accepted:
                self._write_joined(room, joined.now)
                await self.invoker.run_hook("on_joined", room)

    async def leave(self, *rooms: str) -> None:
        for room in rooms:
            if self.leave_room(room) and self.accepted:
                self.write(PreparedFrame(encode_left(room)))
                await self.run_on_left(room)

    def close(self, code: int = 1000, reason: str = "") -> None:
        check_close(code, reason)
        if self.closed_with is None and not self.supervisor.stopped:
            self.closed_with = code, reason
            self.leave_everything()
            if self.accepted:
                self.writer.close(code, reason)
                self.supervisor.start_grace()

    def session_hash(self) -> str:
        return self.session.hash()

    def take(self, limit: EventRate) -> float:
        """Use one of a handler's rate; return 0, or the seconds until the client may."""
        user = None if limit.key is None else limit.key(self.socket)
        if user is not None:
            return self.worker.usage.take(limit, user, self.supervisor.started)
        if self.usage is None:
            self.usage = Usage()
        return self.usage.take(limit, None, self.supervisor.started)

    async def wait_to_join(self) -> None:
        """Count a join of the client, and wait until it is within the limit."""
        rate, now = self.worker.joins, self.supervisor.started
        self._joins_due = rate.after(self._joins_due, now)
        if wait := rate.wait(self._joins_due, now):
            await asyncio.sleep(wait)

    # -- rooms and the end: what the rest of this folder asks for --------------------------

    def _write_joined(self, room: str, offset: Offset | None) -> None:
        # Everything up to the offset comes before it, what is emitted from now on after it.
        if offset is not None:
            self.session.write_until({Room(self.path, room): offset})
        self.write(PreparedFrame(encode_joined(room, offset, self.members(room))))

    def leave_room(self, room: str) -> bool:
        """Leave a room at once, without the hook; return whether the socket was in it."""
        self.forget_asked(room)  # the guard may still allow it, but the leave is later
        for card in self._cards:
            card.left = card.left or card.room == room
        if self._last_rooms is not None:
            return False
        was_in = room in self.rooms
        self._leave_presence(room)
        if was_in:
            self._hub.leave(self.writer, room)
            self.grants = tuple([grant for grant in self.grants if grant.room != room])
        self.session.left(Room(self.path, room))
        return was_in

    async def run_on_left(self, room: str) -> None:
        """Run the hook `on_left`."""
        await self.invoker.run_logged_hook("on_left", self.invoker.emitter(), room)

    async def ask_guard(self, room: str) -> None:
        """Ask whether the client may join a room; raises what the guard raises.

        Then call `join_asked`, or `forget_asked`.
        """
        self._asked = {**(self._asked or {}), room: self.worker.moderation.losses}
        try:
            await self.invoker.check_guard(room)
        except BaseException:
            self.forget_asked(room)
            raise

    def forget_asked(self, room: str) -> bool:
        """Forget that a guard was asked; return whether the room has not been left since then."""
        asked = self._asked or {}
        if room not in asked:
            return False
        self._asked = {name: losses for name, losses in asked.items() if name != room} or None
        return True

    async def join_asked(self, room: str) -> Joined:
        """Join a room for the client, after `ask_guard`; without hooks.

        Raises:
            ProtocolError: the socket is in too many rooms, or left this one meanwhile (`left`).
            AdapterError: the broker did not confirm.

        """
        losses = (self._asked or {}).get(room)
        if not self.forget_asked(room):
            raise ProtocolError("left", LEFT)
        joined = await self.join_for_client(room)
        if joined.new:
            grant, moderation = Grant(room), self.worker.moderation
            self.grants = (*self.grants, grant)
            if losses != moderation.losses:
                moderation.recheck(self, grant)
        return joined

    async def join_for_client(self, room: str) -> Joined:
        """Do what `join_asked` does for a room that the socket is in: its guard is not asked."""
        try:
            return await self.join_room(room)
        except LeftMeanwhile:
            raise ProtocolError("left", LEFT) from None

    async def join_room(self, room: str) -> Joined:
        """Join without guards and hooks; raises ProtocolError if the socket is in too many."""
        rooms = self.rooms
        most = self.worker.limits.rooms_per_socket
        if room not in rooms and len(rooms) >= most:
            raise ProtocolError("too_many_rooms", f"a socket may be in at most {most} rooms")
        with_presence = self.accepted and self.route.card_maker(room) is not None
        if not with_presence or room in self._entered:
            joined = await self._hub.join(self.writer, room)
            if with_presence and self.worker.presence is not None:
                await self.worker.presence.ready(Room(self.path, room))
            return joined
        present = await self._make_card(room)
        joined = await self._hub.join(self.writer, room)
        await self._enter(room, present)
        return joined

    # -- presence --------------------------------------------------------------------------

    async def _make_card(self, room: str) -> Present | None:
        card = _Card(room)
        self._cards = (*self._cards, card)
        try:
            present = await self.invoker.make_card(room)
        finally:
            self._cards = tuple([each for each in self._cards if each is not card])
        if card.left:
            raise LeftMeanwhile(LEFT)
        return present

    async def _enter(self, room: str, present: Present | None) -> None:
        if self.worker.presence is None or room not in self.rooms or self.ended:
            return
        self._entered |= {room}
        try:
            await self.worker.presence.enter(Room(self.path, room), self.id, present)
        except AdapterError:
            self.leave_room(room)
            raise
        if room not in self.rooms:
            raise LeftMeanwhile(LEFT)

    async def enter_opened(self, room: str) -> None:
        """Enter presence in a room that `on_connect` has joined; raises what a join raises."""
        try:
            await self._enter(room, await self._make_card(room))
        except BaseException:
            self.leave_room(room)
            raise
        self._write_joined(room, None)

    def _leave_presence(self, room: str, grace: float = 0.0) -> None:
        if room in self._entered and self.worker.presence is not None:
            self._entered -= {room}
            self.worker.presence.leave(Room(self.path, room), self.id, grace)

    def _leave_all_presence(self) -> None:
        code = self.peer_code if self.closed_with is None else self.closed_with[0]
        by_peer = self.closed_with is None
        clean = code == 1000 or 3000 <= code < 5000 if by_peer else code not in RESTARTING
        for room in self._entered:
            found = self.route.card_maker(room)
            self._leave_presence(room, 0.0 if clean or found is None else found[0].grace)

    def members(self, room: str, after: str | None = None) -> dict[str, Any]:
        """Return what a reply has about the members of a room; nothing if it has no presence."""
        if room not in self._entered or self.worker.presence is None:
            return {}
        return self.worker.presence.answer(Room(self.path, room), after)

    async def update_presence(self, room: str, values: Mapping[str, Any]) -> None:
        new = read_values(values, self._hub.json_default)
        if room in self._entered and self.worker.presence is not None:
            await self.worker.presence.update(Room(self.path, room), self.id, new)

    def leave_everything(self) -> None:
        """Leave all rooms; `rooms` keeps their names."""
        if self._last_rooms is None:
            self._last_rooms = self._hub.room_names(self.writer)
            self._leave_all_presence()
            self._hub.remove(self.writer)
            self.worker.moderation.remove(self)
            self.session.end()

    def start_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the app's code concurrently with the next frames; the last hooks wait for it."""
        if self.tasks is None:
            self.tasks = set()
        task = asyncio.get_running_loop().create_task(work, name=HANDLING)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # -- moderation ------------------------------------------------------------------------

    def expel(self, room: str) -> None:
        """Leave a room, and end the joins to it that are under way; notify the client."""
        if self.leave_room(room) and self.accepted:
            self.write(PreparedFrame(encode_left(room)))
            if "on_left" in self.route.hooks:  # many may leave in one tick
                self.start_beside(self.run_on_left(room))

    async def recheck(self, grant: Grant) -> None:
        """Ask the guard again, and leave the room if it refuses; raises only CancelledError."""
        try:
            if grant in self.grants and not self.ended:
                async with asyncio.timeout(self.worker.limits.handler_timeout):
                    await self.invoker.check_guard(grant.room)
        except BaseException as exc:
            if not raised_by_app(exc):
                raise
            if grant not in self.grants or self.ended:
                return  # it was left meanwhile, and maybe another guard has let it in again
            if isinstance(exc, Reject):
                self.expel(grant.room)
            elif isinstance(exc, Disconnect):
                self.close(exc.code, exc.reason)
            else:
                logger.warning(
                    "socket %s stays in room %r on %s: its guard was asked again and failed (%r)",
                    self.id,
                    grant.room,
                    self.path,
                    exc,
                    extra=about(path=self.path, room=grant.room, socket_id=self.id),
                )

    def log_extra(self) -> dict[str, str]:
        """Return the `extra` of a log line about this connection."""
        return about(path=self.path, socket_id=self.id)

    @property
    def ended(self) -> bool:
        """Whether it has left everything: nothing more reaches the peer."""
        return self._last_rooms is not None

    def peer_gone(self, code: int) -> None:
        """The peer has disconnected with `code` while the app's code runs."""
        self.peer_code = code
        self.leave_everything()
        self.supervisor.start_grace()

    def give_up(self, code: int, reason: str) -> None:
        """Close it, drop its unsent frames, and log why."""
        logger.warning(
            "socket %s on %s is closed: %s", self.id, self.path, reason, extra=self.log_extra()
        )
        if reason == TOO_SLOW[1]:
            self.worker.hub.counters.slow_closes += 1
        self.writer.drop()
        self.close(code, reason)
