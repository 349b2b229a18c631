"""The client's wish to join and to leave rooms, and the guards' word on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from wsroom import protocol
from wsroom.calls import AWAY, Calls
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject
from wsroom.hub import Joined
from wsroom.protocol import Inbound
from wsroom.routing import Route
from wsroom.session import Session
from wsroom.sockets import Socket
from wsroom.worker import Worker
from wsroom.writers import SendWriter, TransportWriter

logger = logging.getLogger("wsroom")


class Connection(Protocol):
    """What a frame's handling needs of the connection that it came on."""

    id: str
    path: str
    writer: SendWriter | TransportWriter
    session: Session
    worker: Worker
    route: Route
    socket: Socket
    calls: Calls
    tasks: set[asyncio.Task[None]] | None
    answered: bool

    @property
    def rooms(self) -> frozenset[str]: ...
    async def join_room(self, room: str) -> Joined: ...
    async def leave(self, *rooms: str) -> None: ...
    @property
    def ended(self) -> bool: ...
    def give_up(self, code: int, reason: str) -> None: ...


async def join(connection: Connection, inbound: Inbound) -> None:
    """Do what `joinRoom` asks for; raises what the guard raises."""
    room = protocol.read_room(inbound.message, connection.worker.limits)
    if room not in connection.rooms:
        await ask_guard(connection, room)
    try:
        joined = await connection.join_room(room)
    except AdapterError:
        logger.info("a join on %s failed: the adapter cannot do it now", connection.path)
        raise ProtocolError("unavailable", AWAY) from None
    answer: dict[str, Any] = {"room": room}
    if joined.now is not None:
        answer["offset"] = joined.now
    if connection.session.hold is not None:
        connection.session.hold.release()  # what came up to that offset comes before it is told
    connection.calls.reply(inbound, answer)
    connection.answered = True
    if joined.new:
        await connection.calls.hook("on_joined", room)


async def leave(connection: Connection, inbound: Inbound) -> None:
    """Do what `leaveRoom` asks for."""
    room = protocol.read_room(inbound.message, connection.worker.limits)
    await connection.leave(room)
    connection.calls.reply(inbound, {"room": room})


async def ask_guard(connection: Connection, room: str) -> None:
    """Return where the socket may join `room`.

    Raises:
        Reject: the guard's own word.
        Disconnect: the same.
        ProtocolError: nobody may, or the guard failed.

    """
    route, worker = connection.route, connection.worker
    if not route.guards:
        worker.say_open(route.pattern.text)
        return
    found = route.guard(room)
    if found is None:
        raise ProtocolError("forbidden", "nobody may join this room")
    guard, values = found
    try:
        await worker.call(guard.callback, connection.socket, room, **values)
    except (Reject, Disconnect):
        raise
    except AdapterError:
        raise ProtocolError("unavailable", AWAY) from None
    except Exception as exc:
        logger.exception("the guard of room %r on %s raised", room, connection.path)
        raise ProtocolError("internal", worker.tell(exc)) from None
