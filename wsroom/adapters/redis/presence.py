"""The tables of the members of rooms in Redis, which presence.lua changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.servers import Servers
from wsroom.errors import AdapterError
from wsroom.wire.emission import Room
from wsroom.wire.presence import Bury, Enter, PresenceAnswer, PresenceTable, Step, Update

WORKERS_TTL = 24 * 3600
"""Seconds for which the workers' signs of life are kept."""


class RedisPresence:
    """The tables, and the workers' signs of life."""

    def __init__(self, names: RedisNames, servers: Servers) -> None:
        self.channels: set[str] = set()
        """Of the rooms whose tables this worker has changed."""
        self._names = names
        self._servers = servers

    async def change(
        self, room: Room, worker: str, number: int, steps: Sequence[Step], *, whole: bool
    ) -> PresenceAnswer:
        """Do what `PresenceAdapter.change_presence` promises."""
        channel = self._names.channel(room)
        if worker:
            self.channels.add(channel)
        keys = channel, f"{channel}:presence", f"{channel}:graces"
        words = [word for step in steps for word in _words(step)]
        answer = await self._servers.ask(
            channel, ("presence", *keys, worker, number, int(whole), *words)
        )
        try:
            return _read(answer, whole=whole)
        except (ValueError, TypeError, IndexError) as exc:
            raise AdapterError(
                f"the members of {room.describe()} are not from wsroom: {exc}"
            ) from exc

    async def stamp(self, worker: str) -> Mapping[str, int]:
        """Do what `PresenceAdapter.stamp_presence` promises."""
        key, ask = self._names.workers, self._servers.ask
        await ask(key, ("HINCRBY", key, worker, 1))
        await ask(key, ("EXPIRE", key, WORKERS_TTL))
        found = await ask(key, ("HGETALL", key))
        pairs = found.items() if isinstance(found, dict) else _pairs(found)
        return {name.decode(): int(count) for name, count in pairs}

    async def unstamp(self, worker: str) -> None:
        """Do what `PresenceAdapter.unstamp_presence` promises."""
        key = self._names.workers
        await self._servers.ask(key, ("HDEL", key, worker))


def _pairs(values: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)


def _words(step: Step) -> tuple[str | int | bytes, ...]:
    if isinstance(step, Enter):
        return "+", step.socket, step.member, _lines(step.card)
    if isinstance(step, Update):
        return "~", step.socket, "", _lines(step.values, removes=True)
    if isinstance(step, Bury):
        return "x", step.worker, "", ""
    return "-", step.socket, math.ceil(step.grace * 1000), ""


def _lines(values: Mapping[str, Any], *, removes: bool = False) -> bytes:
    lines: list[bytes] = []
    for key, value in values.items():
        gone = removes and value is None
        lines += orjson.dumps(key), b"" if gone else orjson.dumps(value)
    return b"\n".join(lines)


def _read(answer: list[Any], *, whole: bool) -> PresenceAnswer:
    epoch, position, due, count, *rest = answer
    table = None
    if whole:
        workers = frozenset(worker.decode() for worker in rest[:count])
        cards = {member.decode(): orjson.loads(card) for member, card in _pairs(rest[count:])}
        table = PresenceTable(cards, workers)
    return PresenceAnswer(
        epoch.decode(), int(position), None if due == b"" else int(due) / 1000, table
    )
