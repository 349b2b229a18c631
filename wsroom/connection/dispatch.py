"""Handles one frame of a client: `joinRoom`, `leaveRoom`, `resume`, or an event of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from math import ceil
from typing import Any

from wsroom.api.emitter import Emitter
from wsroom.connection.connection import Connection
from wsroom.connection.join import join
from wsroom.connection.resume import resume
from wsroom.errors import ProtocolError
from wsroom.rates import EventRate
from wsroom.routing.callbacks import Handler
from wsroom.routing.route import ANY
from wsroom.stats import EventTraffic
from wsroom.wire import protocol
from wsroom.wire.joins import read_members
from wsroom.wire.protocol import Inbound

Call = Callable[[Connection, Handler, Emitter, Any], Awaitable[Any]]


def handle(connection: Connection, inbound: Inbound) -> Coroutine[Any, Any, None]:
    """Handle a frame and answer it; raises what the app's code raises.

    Raises:
        ProtocolError: to be answered with an `error` frame of its code.

    """
    event = inbound.event
    route = connection.route
    if inbound.id is None and (plan := route.plans.get(event)) is not None:
        # Most frames: no coroutine but the handler's.
        function, wants_message, traffic = plan
        traffic.received += 1
        emitter = connection.invoker.emitter(event)
        work: Coroutine[Any, Any, Any]
        work = function(emitter, inbound.message) if wants_message else function(emitter)
        return work
    traffic = route.traffic_of(event)
    traffic.received += 1
    handler = route.handlers.get(event)
    if handler is None:
        if event == protocol.JOIN:
            return join(connection, inbound)
        if event == protocol.LEAVE:
            return leave(connection, inbound)
        if event == protocol.RESUME:
            return resume(connection, inbound)
        reserved = event in protocol.RESERVED
        if route.card_makers and event in protocol.RESERVED_WITH_PRESENCE:
            if event == protocol.MEMBERS:
                return members(connection, inbound)
            reserved = True
        handler = None if reserved else route.handlers.get(ANY)
        if handler is None:
            raise ProtocolError("unknown_event", f"this path has no handler for {event!r}")
    if handler.rate is not None and (wait := connection.take(handler.rate)):
        raise _rate_limited(handler.rate, wait)
    if handler.declared.message is not None:
        inbound.message = handler.declared.message.validate(inbound.message)
    if handler.concurrent:
        return _start_concurrent(connection, handler, inbound, traffic)
    return _call_and_reply(connection, handler, inbound, traffic)


def _rate_limited(limit: EventRate, wait: float) -> ProtocolError:
    seconds = ceil(wait * 1000) / 1000
    detail = f"at most {limit.text}; try again in {seconds:g} s"
    return ProtocolError("rate_limited", detail, data={"retry_after": seconds})


async def leave(connection: Connection, inbound: Inbound) -> None:
    """Handle `leaveRoom`."""
    room = protocol.read_room(inbound.message, connection.worker.limits)
    was_in = connection.leave_room(room)
    # Before the hook: once it is suspended, the app may join the room for this socket again.
    connection.invoker.reply(inbound, {"room": room})
    connection.answered = True
    if was_in:
        await connection.run_on_left(room)


async def members(connection: Connection, inbound: Inbound) -> None:
    """Handle `members`: answer with those of a room that the socket is in."""
    room, after = read_members(inbound.message, connection.worker.limits)
    if room not in connection.rooms:
        raise ProtocolError("forbidden", "join the room first")
    connection.invoker.reply(inbound, {"room": room} | connection.members(room, after))
    connection.answered = True


def _call(
    connection: Connection, handler: Handler, emitter: Emitter, message: Any
) -> Coroutine[Any, Any, Any]:
    args = (emitter, message) if handler.wants_message else (emitter,)
    if handler.callback.is_async:
        answer: Coroutine[Any, Any, Any] = handler.callback.function(*args)
        return answer
    return connection.worker.call(handler.callback, *args)


def _call_through_middleware(
    connection: Connection, handler: Handler, emitter: Emitter, message: Any
) -> Coroutine[Any, Any, Any]:
    middleware = connection.route.middleware

    def call(position: int, message: Any) -> Coroutine[Any, Any, Any]:
        if position == len(middleware):
            return _call(connection, handler, emitter, message)
        answer: Coroutine[Any, Any, Any] = middleware[position].function(
            emitter, message, partial(call, position + 1)
        )
        return answer

    return call(0, message)


async def _call_and_reply(
    connection: Connection, handler: Handler, inbound: Inbound, traffic: EventTraffic
) -> None:
    call: Call = _call_through_middleware if connection.route.middleware else _call
    if traffic.times is not None:
        call = traffic.times.measured(call)
    emitter = connection.invoker.emitter(inbound.event)
    result = await call(connection, handler, emitter, inbound.message)
    if inbound.id is not None:
        reply = handler.declared.reply if connection.worker.debug else None
        connection.invoker.reply(inbound, result, reply)


async def _start_concurrent(
    connection: Connection, handler: Handler, inbound: Inbound, traffic: EventTraffic
) -> None:
    while (tasks := connection.tasks) and len(tasks) >= connection.worker.limits.concurrent:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    connection.start_beside(_run_concurrent(connection, handler, inbound, traffic))


async def _run_concurrent(
    connection: Connection, handler: Handler, inbound: Inbound, traffic: EventTraffic
) -> None:
    work = _call_and_reply(connection, handler, inbound, traffic)
    try:
        async with asyncio.timeout(connection.worker.limits.handler_timeout):
            await connection.invoker.run(work, inbound.event, inbound.id)
    except TimeoutError:
        connection.invoker.answer_timeout(inbound.event, inbound.id)
