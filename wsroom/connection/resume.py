"""Handles a client's `resume`: joins its rooms again, and replays the messages that it missed."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Any

from wsroom.connection.connection import Connection
from wsroom.connection.invoker import UNAVAILABLE
from wsroom.connection.replay import entries_of, frames_for, wait_for_writer
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import Inbound, read_resume, read_room

Answer = dict[str, Any]


async def resume(connection: Connection, inbound: Inbound) -> None:
    """Join, replay room by room, reply, and go live: in this order on the wire.

    If it fails in the middle, the connection is closed with 1013: with a room that is joined but
    not replayed, the next attempt would deliver messages twice, or not at all.

    Raises:
        ProtocolError: `invalid_message`.
        Disconnect: by a guard.

    """
    await connection.wait_to_join()
    if connection.ended:
        return  # the frame was read before its peer disconnected
    secret, offsets = read_resume(inbound.message, connection.worker.limits)
    resumption = _Resumption(connection, offsets)
    if secret:
        connection.session.resume(secret)
    try:
        joined = await resumption.join()
        for name in offsets:
            await resumption.catch_up(name)
    except Disconnect:
        raise
    except (AdapterError, TimeoutError) as exc:
        slow = isinstance(exc, TimeoutError)
        connection.worker.hub.counters.resumed("failed")
        connection.give_up(1013, "too slow" if slow else UNAVAILABLE)
        return
    except BaseException:
        connection.worker.hub.counters.resumed("failed")
        connection.give_up(1013, "the resume was not finished; try again")
        raise
    resumption.note_left()
    resumption.add_members()
    # The reply contains the offsets of the rooms that were live already. A client that is cut off
    # after the reply continues from there, so frames up to there are written before the reply.
    connection.session.write_until(resumption.live_offsets)
    try:
        connection.invoker.reply(inbound, {"rooms": resumption.answers})
        connection.answered = True
        resumption.count()
    finally:
        # What was replayed must not be delivered twice, even if the reply could not be sent.
        connection.session.end_replay(resumption.replayed)
    for name in joined:
        if name in connection.rooms:
            await connection.invoker.run_hook("on_joined", name)


class _Resumption:
    def __init__(self, connection: Connection, offsets: dict[str, str]) -> None:
        self._connection = connection
        self._offsets = offsets
        self.answers: dict[str, Answer] = {name: {} for name in offsets}
        self.replayed: dict[Room, Offset] = {}
        self.live_offsets: dict[Room, Offset] = {}  # of the rooms that were live before
        live = connection.rooms | {""}
        buffered = connection.session.start_replay(connection.writer, connection)
        self._live: Set[str] = frozenset() if buffered else live

    async def join(self) -> list[str]:
        allowed = [name for name in self._offsets if await self._may_join(name)]
        done = await asyncio.gather(*(self._join_room(name) for name in allowed))
        return [name for name, joined in zip(allowed, done, strict=True) if joined]

    async def _may_join(self, name: str) -> bool:
        connection = self._connection
        if not name or name in connection.rooms:
            return False
        try:
            await connection.ask_guard(read_room(name, connection.worker.limits))
        except (ProtocolError, Reject) as exc:
            self.answers[name] = {"error": exc.code}
            return False
        return True

    async def _join_room(self, name: str) -> bool:
        try:
            return (await self._connection.join_asked(name)).new
        except ProtocolError as exc:
            self.answers[name] = {"error": exc.code}
        except AdapterError:
            self.answers[name] = {"error": "unavailable"}
        return False

    async def catch_up(self, name: str) -> None:
        connection = self._connection
        if self.answers[name] or connection.ended:
            return
        room = Room(connection.path, name)
        await asyncio.sleep(0)  # write what was collected, and let other tasks run
        if name not in self._live:
            await wait_for_writer(connection)
        if self._was_left(name):
            return
        try:
            past = await connection.worker.hub.adapter.read(room, Offset.parse(self._offsets[name]))
        except AdapterError:
            if self._was_left(name):
                return
            raise
        if self._was_left(name):
            return
        recovered = past.complete
        if name in self._live:
            recovered = name in connection.session.recovered or (recovered and not past.emissions)
        else:
            for frame in frames_for(connection, entries_of(past)):
                connection.writer.write(frame)
        connection.session.note_asked(name)
        if recovered:
            connection.session.recovered |= {name}
        self.answers[name] = {"recovered": recovered}
        if past.offset is not None:
            self.answers[name]["offset"] = str(past.offset)
            (self.live_offsets if name in self._live else self.replayed)[room] = past.offset

    def _was_left(self, name: str) -> bool:
        left = name != "" and name not in self._connection.rooms
        if left and "error" not in self.answers[name]:
            self.answers[name] = {"error": "left"}
        return left

    def count(self) -> None:
        """Count the rooms by what was answered."""
        for answer in self.answers.values():
            recovered = answer.get("recovered")
            outcome = "refused" if recovered is None else "recovered" if recovered else "lost"
            self._connection.worker.hub.counters.resumed(outcome)

    def add_members(self) -> None:
        """Add the members to the answers, of the rooms that have presence."""
        for name, answer in self.answers.items():
            if name and "error" not in answer:
                answer |= self._connection.members(name)

    def note_left(self) -> None:
        """Answer `left` for the rooms that were joined, but have been left since then."""
        for name in self._offsets:
            self._was_left(name)
