"""Handles a client's `joinRoom`: asks the guard, joins, and replays the room's past if asked to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from wsroom.connection.connection import Connection
from wsroom.connection.invoker import UNAVAILABLE
from wsroom.connection.membership import LEFT
from wsroom.connection.replay import Entry, entries_of, frames_for, wait_for_writer
from wsroom.delivery.pending_joins import Joined
from wsroom.errors import AdapterError, ProtocolError
from wsroom.wire.emission import Past, Room
from wsroom.wire.joins import JoinRequest, read_join, room_answer
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import Inbound

logger = logging.getLogger("wsroom")


async def join(connection: Connection, inbound: Inbound) -> None:
    """Handle `joinRoom`; raises what the guard raises."""
    await connection.wait_to_join()
    if connection.ended:
        return  # its peer has disconnected meanwhile
    request = read_join(inbound.message, connection.worker.limits)
    room = request.room
    was_in = room in connection.rooms
    if not was_in:
        await connection.ask_guard(room)
    most = _most(connection, request, was_in) if request.asks_for_history else 0
    if most:
        joined = await _join_with_history(connection, inbound, request, was_in, most)
    else:
        joined = await _join(connection, room, was_in)
        connection.session.note_asked(room)
        connection.session.release()  # frames up to the reply's offset are written before it
        answer = _answer(request, joined.now) | connection.members(room)
        connection.invoker.reply(inbound, answer)
        connection.answered = True
    if joined.new:
        await connection.invoker.run_hook("on_joined", room)


def _most(connection: Connection, request: JoinRequest, was_in: bool) -> int:
    # How many messages may be replayed: none if the client has asked to join this room before.
    if was_in and connection.session.live_since(request.room) is None:
        return 0
    found = connection.route.guard(request.room)
    most = None if found is None else found[0].replay
    if most is None:
        most = connection.worker.limits.replay
    return most if request.last is None else min(most, request.last)


async def _join(connection: Connection, room: str, was_in: bool) -> Joined:
    join_room = connection.join_for_client if was_in else connection.join_asked
    try:
        return await join_room(room)
    except AdapterError:
        raise _unavailable(connection) from None


async def _join_with_history(
    connection: Connection, inbound: Inbound, request: JoinRequest, was_in: bool, most: int
) -> Joined:
    room = request.room
    # Before the join: what is emitted there from then on comes after the past.
    connection.session.hold(Room(connection.path, room), connection.writer, connection)
    try:
        joined = await _join(connection, room, was_in)
        past = await _read(connection, request, most)
        if room not in connection.rooms:
            raise ProtocolError("left", LEFT)
    except BaseException:
        if not was_in:
            connection.leave_room(room)  # nothing was replayed yet: the client can ask again
        raise
    _replay(connection, inbound, request, past, most)
    return joined


async def _read(connection: Connection, request: JoinRequest, most: int) -> Past:
    room, adapter = Room(connection.path, request.room), connection.worker.hub.adapter
    try:
        await wait_for_writer(connection)
    except TimeoutError:
        connection.give_up(1013, "too slow")
        raise ProtocolError("unavailable", "the client does not read") from None
    try:
        if request.last is not None:
            return await adapter.read(room, last=most)
        return await adapter.read(room, Offset.parse(request.since))
    except AdapterError:
        if room.name not in connection.rooms:
            raise ProtocolError("left", LEFT) from None
        raise _unavailable(connection) from None


def _replay(
    connection: Connection, inbound: Inbound, request: JoinRequest, past: Past, most: int
) -> None:
    # There is no `await` here, so nothing can come between the past, the reply and what is live.
    room, session = Room(connection.path, request.room), connection.session
    live_since = session.note_asked(room.name)
    entries = entries_of(past)
    if live_since is not None:
        entries = _until(live_since, entries)
    frames = frames_for(connection, entries, own=request.last is not None)
    recovered = past.complete and len(frames) <= most
    if not recovered:
        frames = []
    for frame in frames:
        connection.writer.write(frame)
    replayed = {} if past.offset is None else {room: past.offset}
    if live_since is not None:
        # The kept frames are no part of what was replayed.
        session.write_until(replayed)
        replayed = {}
    try:
        answer = _answer(request, past.offset, len(frames), recovered)
        connection.invoker.reply(inbound, answer | connection.members(room.name))
        connection.answered = True
    finally:
        session.end_replay(replayed)


def _until(end: Offset, entries: Iterable[Entry]) -> list[Entry]:
    # Another epoch began after the offset, so all of its emissions are later.
    return [
        entry
        for entry in entries
        if entry.offset.epoch == end.epoch and entry.offset.seq <= end.seq
    ]


def _answer(
    request: JoinRequest, now: Offset | None, replayed: int = 0, recovered: bool | None = None
) -> dict[str, Any]:
    answer = room_answer(request.room, now)
    if request.asks_for_history:
        answer["replayed"] = replayed
    if request.since is not None:
        if recovered is None:  # the history was not read
            recovered = request.since == answer.get("offset")
        answer["recovered"] = recovered
    return answer


def _unavailable(connection: Connection) -> ProtocolError:
    extra = connection.log_extra()
    logger.info("a join on %s failed: the adapter is unavailable", connection.path, extra=extra)
    return ProtocolError("unavailable", UNAVAILABLE)
