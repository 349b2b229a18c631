"""The Lua scripts that Redis runs, in the form that each server gets them."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.resources import files
from typing import NamedTuple

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.commands import Script, Scripts
from wsroom.adapters.redis.network.link import NetworkSettings
from wsroom.timing import Timing
from wsroom.wire.offsets import ROOM_BYTES

STATE_TTL = 3600
"""Seconds that a room's position outlives its history, and its last member."""

UNUSED_TTL = 600
"""Seconds that the position of a room in which nothing was ever emitted outlives its last member.

It is short because clients may join rooms of invented names, which must not fill Redis.
"""


class HistorySettings(NamedTuple):
    """How long emissions are kept: the same for all workers and publishers of an app."""

    history: int = 100
    ttl: int = 300
    trusted: bool = False

    def to_fields(self) -> tuple[str | int, ...]:
        """Return the fields of a Redis hash, each name followed by its value."""
        return "history", self.history, "ttl", self.ttl, "trusted", int(self.trusted)

    @classmethod
    def from_values(cls, values: list[bytes | None]) -> HistorySettings:
        """Read the values of the hash's fields, in order; the defaults if there is no hash."""
        if None in values:
            return cls()
        history, ttl, trusted = (int(value or 0) for value in values)
        return cls(history, ttl, bool(trusted))


def scripts_for(run_id: str, history: HistorySettings, *, sharded: bool) -> Scripts:
    """Return the scripts for the server with this run_id.

    The run_id and the settings are part of their text.
    """
    settings = {
        "RUN": f"'{run_id}'",
        "TRUSTED": "true" if history.trusted else "false",
        "HISTORY": str(history.history),
        "BYTES": str(ROOM_BYTES),
        "TTL": str(history.ttl),
        "STATE_TTL": str(2 * history.ttl + STATE_TTL),
        "UNUSED_TTL": str(UNUSED_TTL),
        "PUBLISH": "'SPUBLISH'" if sharded else "'PUBLISH'",
    }
    head = f"local {', '.join(settings)} = {', '.join(settings.values())}\n"
    return {name: _script(head + _text(name)) for name in ("publish", "read")}


def network_settings(
    names: RedisNames, history: HistorySettings, *, sharded: bool, subscribes: bool, timing: Timing
) -> NetworkSettings:
    """Return the settings of the connections of a worker, which subscribes, or of a publisher."""
    return NetworkSettings(
        scripts_for=partial(scripts_for, history=history, sharded=sharded),
        heartbeat_channel=names.heartbeat,
        subscribes=subscribes,
        timing=timing,
    )


def _script(text: str) -> Script:
    # Redis names scripts by SHA-1, which need not be secure here.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def _text(name: str) -> str:
    return (files("wsroom.adapters.redis") / f"{name}.lua").read_text()


def sequence_keys(channel: str) -> tuple[str, str]:
    """Return the keys of a sequence: its state, named like its channel, and its history."""
    return channel, f"{channel}:history"
