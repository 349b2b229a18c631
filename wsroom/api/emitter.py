"""Emitting from handlers and hooks, with a socket as the sender."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from wsroom.api.socket import Socket
from wsroom.api.target import Target, check_reserved, room_of
from wsroom.api.user import User, WithUser
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.wire.moderation import Chosen
from wsroom.wire.protocol import RESERVED_WITH_PRESENCE, encode


class Emitter(Target, WithUser[User]):
    """What a handler gets: a target on its socket's path, with that socket as the sender.

    `to` and `except_` return new emitters, so one step never changes another's target.
    """

    __slots__ = ("_last", "event", "socket")

    _publisher: Hub

    def __init__(
        self,
        hub: Hub,
        path: str,
        socket: Socket[User],
        event: str | None = None,
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
    ) -> None:
        self._publisher = hub
        self._path = path
        self._rooms = rooms
        self._room = room_of(path, rooms)
        self._excluded = excluded
        self._last: Self | None = None  # what `to` returned last: most sockets emit to one room
        self.socket = socket
        """The socket whose frame is being handled."""
        self.event = event
        """The event that is being handled; None in a hook."""

    def _with(self, rooms: tuple[str, ...], excluded: tuple[str, ...]) -> Self:
        return type(self)(self._publisher, self._path, self.socket, self.event, rooms, excluded)

    def to(self, *rooms: str) -> Self:
        """Do what `Target.to` does."""
        last = self._last
        if last is None or last._rooms != rooms or self._rooms:
            last = self._last = super().to(*rooms)
        return last

    def _chosen(self) -> Chosen:
        if not self._rooms:
            # `emitter.leave("chat")` looks like the sender's own leave.
            raise ValueError(
                "choose whom it is for: emitter.to(room), emitter.socket for the sender alone, "
                "or app.to(path=...) for everybody on the path"
            )
        return super()._chosen()

    async def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Emit `event` to all recipients, including the sender if it is one of them.

        Takes the arguments of `Target.emit`, and raises its exceptions.
        """
        hub = self._publisher
        emission = self._emission(event, message, volatile, self.socket.id)
        if not hub.publish_now(emission):
            await hub.publish(emission)
        elif hub.should_yield():
            await asyncio.sleep(0)

    async def emit_except_sender(
        self, event: str, message: Any = None, *, volatile: bool = False
    ) -> None:
        """Emit `event` to all recipients except the sender.

        Takes the arguments of `Target.emit`, and raises its exceptions.
        """
        sender = self.socket.id
        session = self.socket._connection.session_hash()
        hub = self._publisher
        emission = self._emission(event, message, volatile, sender, sender, session)
        if not hub.publish_now(emission):
            await hub.publish(emission)
        elif hub.should_yield():
            await asyncio.sleep(0)

    async def emit_to_sender(
        self, event: str, message: Any = None, *, volatile: bool = False
    ) -> None:
        """Emit `event` to the sender alone, whatever rooms were chosen.

        It goes straight to the socket: its order relative to room messages is not guaranteed.
        A volatile message is dropped if the socket is behind (more than 64 KiB unsent).

        Raises:
            ValueError: the name of the event is invalid, the message has a NaN or an infinity, the
                payload is over 1 MiB, or in debug mode the message is not of the type that
                `WSRoom.emits` declares.
            TypeError: a value in the message cannot be encoded as JSON.

        """
        hub = self._publisher
        hub.name_checker.check_event(event)
        if event in RESERVED_WITH_PRESENCE:
            check_reserved(hub, self._path, event)
        payload = encode(event, message, self.socket.id, default=hub.json_default)
        if hub.check_emit is not None:
            hub.check_emit(self._path, event, payload)
        self.socket._connection.write(PreparedFrame(payload, volatile))
        if hub.should_yield():
            await asyncio.sleep(0)
