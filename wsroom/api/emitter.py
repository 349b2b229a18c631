"""Emitting: who gets a message, chosen step by step, each step a new value."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from wsroom.api.socket import Socket
from wsroom.api.target import Target
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.wire.protocol import encode


class Emitter(Target):
    """What a handler gets: a target on its socket's path, with that socket as the sender.

    `to` and `except_` return new emitters, so one step never changes another's target.
    """

    __slots__ = ("_hub", "event", "socket")

    def __init__(
        self,
        hub: Hub,
        path: str,
        socket: Socket,
        event: str | None = None,
        rooms: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
    ) -> None:
        self._hub = self._outlet = hub
        self._path = path
        self._rooms = rooms
        self._left_out = left_out
        self.socket = socket
        """The socket whose frame is handled."""
        self.event = event
        """The event that is handled; None in a hook."""

    def _with(self, rooms: tuple[str, ...], left_out: tuple[str, ...]) -> Self:
        return type(self)(self._hub, self._path, self.socket, self.event, rooms, left_out)

    async def emit(self, event: str, message: Any = None) -> None:
        """Emit `event` to everybody chosen, the sender too where it is one of them.

        Raises what `Target.emit` raises.
        """
        await self._hub.publish(self._emission(event, message, self.socket.id))

    async def emit_except_sender(self, event: str, message: Any = None) -> None:
        """Emit `event` to everybody chosen but the sender; raises what `Target.emit` raises."""
        sender = self.socket.id
        session = self.socket._connection.session_hash()
        await self._hub.publish(self._emission(event, message, sender, sender, session))

    async def emit_to_sender(self, event: str, message: Any = None) -> None:
        """Emit `event` to the sender alone, whatever rooms were chosen.

        It goes straight to the socket: its order among room messages is not promised.

        Raises:
            ValueError: the event's name, NaN or an infinity, or a payload over 1 MiB.
            TypeError: the message holds something that JSON has no form for.

        """
        self._check_event(event)
        payload = encode(event, message, self.socket.id)
        self.socket._connection.write(PreparedFrame(payload))
        if self._hub.due():
            await asyncio.sleep(0)
