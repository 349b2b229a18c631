"""The rooms of one socket: how it joins and leaves them, and who sees it there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from wsroom.connection.invoker import Invoker
from wsroom.connection.moderation import Grant
from wsroom.connection.session import Session
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.pending_joins import Joined, LeftMeanwhile
from wsroom.delivery.send_writer import SendWriter
from wsroom.direct.transport_writer import TransportWriter
from wsroom.errors import AdapterError, ProtocolError
from wsroom.presence.cards import Present, read_values
from wsroom.routing.route import Route
from wsroom.wire.emission import Room
from wsroom.wire.joins import encode_joined
from wsroom.wire.offsets import Offset

LEFT = "the room was left before it was joined"

RESTARTING = frozenset({1001, 1012, 1013})
"""Codes with which the server closes sockets that are to come back."""


class _Card:
    """A card that is being made; `left` if the room is left meanwhile."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.left = False


class Membership(ABC):
    """The part of a connection that knows its rooms."""

    __slots__ = (
        "_asked",
        "_cards",
        "_entered",
        "_hub",
        "_last_rooms",
        "grants",
        "id",
        "path",
        "route",
        "worker",
    )

    accepted: bool
    closed_with: tuple[int, str] | None
    invoker: Invoker
    peer_code: int
    session: Session
    writer: SendWriter | TransportWriter

    def __init__(self, worker: Worker, route: Route, path: str) -> None:
        self.id = worker.hub.new_id()
        self.path = path
        self.worker = worker
        self.route = route
        self.grants: tuple[Grant, ...] = ()
        """The permissions of the rooms that it is in, without those that the app put it into."""
        # Rooms of the client's joins that have not begun yet, because guards are being asked, and
        # `Moderation.losses` then.
        self._asked: Mapping[str, int] | None = None
        self._cards: tuple[_Card, ...] = ()
        self._entered: frozenset[str] = frozenset()  # rooms in whose table it is
        self._hub = worker.hub
        self._last_rooms: frozenset[str] | None = None

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""

    @abstractmethod
    def expel(self, room: str) -> None:
        """Leave a room, and end the joins to it that are under way; notify the client."""

    @abstractmethod
    async def recheck(self, grant: Grant) -> None:
        """Ask the guard again, and leave the room if it refuses; raises only CancelledError."""

    @property
    def rooms(self) -> frozenset[str]:
        return self._hub.room_names(self.writer) if self._last_rooms is None else self._last_rooms

    @property
    def ended(self) -> bool:
        """Whether it has left everything: nothing more reaches the peer."""
        return self._last_rooms is not None

    def _write_joined(self, room: str, offset: Offset | None) -> None:
        # Everything up to the offset comes before it, what is emitted from now on after it.
        if offset is not None:
            self.session.write_until({Room(self.path, room): offset})
        self.writer.write(PreparedFrame(encode_joined(room, offset, self.members(room))))

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
