"""What a client's frame asks for: joining, leaving, or a handler of the app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from wsroom import protocol
from wsroom.callbacks import Handler
from wsroom.calls import Calls
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject
from wsroom.protocol import Inbound
from wsroom.routing import ANY, Route
from wsroom.sockets import Socket
from wsroom.worker import Worker

logger = logging.getLogger("wsroom")

HANDLING = "wsroom: concurrent handler"


class Connection(Protocol):
    """What a frame's handling needs of the connection that it came on."""

    path: str
    worker: Worker
    route: Route
    socket: Socket
    calls: Calls
    tasks: set[asyncio.Task[None]]
    answered: bool

    @property
    def rooms(self) -> frozenset[str]: ...
    async def join_room(self, room: str) -> tuple[bool, str | None]: ...
    async def leave(self, *rooms: str) -> None: ...


def handle(connection: Connection, inbound: Inbound) -> Coroutine[Any, Any, None]:
    """Do what the frame asks for, and answer it; raises what the app's code raises.

    Raises:
        ProtocolError: with the code of the `error` frame that is due.

    """
    event = inbound.event
    handler = connection.route.handlers.get(event)
    if handler is None:
        if event == protocol.JOIN:
            return _join(connection, inbound)
        if event == protocol.LEAVE:
            return _leave(connection, inbound)
        handler = None if event in protocol.RESERVED else connection.route.handlers.get(ANY)
        if handler is None:
            raise ProtocolError("unknown_event", f"nobody handles {event!r} on this path")
    return (_start if handler.concurrent else _call)(connection, handler, inbound)


async def _call(connection: Connection, handler: Handler, inbound: Inbound) -> None:
    emitter = connection.calls.emitter(inbound.event)
    args = (emitter, inbound.message) if handler.wants_message else (emitter,)
    if handler.callback.is_async:
        result = await handler.callback.function(*args)
    else:
        result = await connection.worker.call(handler.callback, *args)
    if inbound.id is not None:
        connection.calls.reply(inbound, result)


async def _start(connection: Connection, handler: Handler, inbound: Inbound) -> None:
    tasks = connection.tasks
    while len(tasks) >= connection.worker.limits.concurrent:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    work = _run_beside(connection, handler, inbound)
    task = asyncio.get_running_loop().create_task(work, name=HANDLING)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _run_beside(connection: Connection, handler: Handler, inbound: Inbound) -> None:
    work = _call(connection, handler, inbound)
    try:
        async with asyncio.timeout(connection.worker.limits.handler_timeout):
            await connection.calls.attempt(work, inbound.event, inbound.id)
    except TimeoutError:
        connection.calls.late(inbound.event, inbound.id)


async def _join(connection: Connection, inbound: Inbound) -> None:
    room = protocol.read_room(inbound.message, connection.worker.limits)
    if room not in connection.rooms:
        await _ask_guard(connection, room)
    try:
        joined, offset = await connection.join_room(room)
    except AdapterError:
        logger.warning("a join on %s failed: the adapter is away", connection.path)
        raise ProtocolError("unavailable", "the server cannot reach its broker") from None
    answer: dict[str, Any] = {"room": room}
    if offset is not None:
        answer["offset"] = offset
    connection.calls.reply(inbound, answer)
    connection.answered = True
    if joined:
        await connection.calls.hook("on_joined", room)


async def _leave(connection: Connection, inbound: Inbound) -> None:
    room = protocol.read_room(inbound.message, connection.worker.limits)
    await connection.leave(room)
    connection.calls.reply(inbound, {"room": room})


async def _ask_guard(connection: Connection, room: str) -> None:
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
    except Exception as exc:
        logger.exception("the guard of room %r on %s raised", room, connection.path)
        raise ProtocolError("internal", worker.tell(exc)) from None
