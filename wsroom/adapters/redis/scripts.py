"""The Lua scripts that Redis runs, as each server knows them."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.resources import files
from typing import NamedTuple

from wsroom.adapters.redis.codec import Names
from wsroom.adapters.redis.network.commands import Script, Scripts
from wsroom.adapters.redis.network.link import NetworkSettings
from wsroom.timing import Timing
from wsroom.wire.offsets import ROOM_BYTES

STATE_TTL = 3600
"""Seconds that a room's position outlives its history, and its last member."""

UNUSED_TTL = 600
"""Seconds that the position of a room to which nothing was ever emitted outlives its last member.

So names that somebody only makes up do not fill Redis for an hour.
"""


class Keeping(NamedTuple):
    """How long emissions are kept: the same for all workers and publishers of an app."""

    history: int = 100
    ttl: int = 300
    trusted: bool = False

    def to_fields(self) -> tuple[str | int, ...]:
        """As names and values of a Redis hash."""
        return "history", self.history, "ttl", self.ttl, "trusted", int(self.trusted)

    @classmethod
    def of_values(cls, values: list[bytes | None]) -> Keeping:
        """What a hash holds, read in the order of the fields; the defaults where there is none."""
        if None in values:
            return cls()
        history, ttl, trusted = (int(value or 0) for value in values)
        return cls(history, ttl, bool(trusted))


def scripts_for(run_id: str, keeping: Keeping, *, sharded: bool) -> Scripts:
    """The scripts for the server with this run_id; that and the settings are part of their text."""
    settings = {
        "RUN": f"'{run_id}'",
        "TRUSTED": "true" if keeping.trusted else "false",
        "HISTORY": str(keeping.history),
        "BYTES": str(ROOM_BYTES),
        "TTL": str(keeping.ttl),
        "STATE_TTL": str(2 * keeping.ttl + STATE_TTL),
        "UNUSED_TTL": str(UNUSED_TTL),
        "PUBLISH": "'SPUBLISH'" if sharded else "'PUBLISH'",
    }
    head = f"local {', '.join(settings)} = {', '.join(settings.values())}\n"
    return {name: _script(head + _text(name)) for name in ("publish", "read")}


def network_settings(
    names: Names, keeping: Keeping, *, sharded: bool, subscribes: bool, timing: Timing
) -> NetworkSettings:
    """Settings of the connections of a worker, which subscribes, or of a publisher."""
    return NetworkSettings(
        scripts_for=partial(scripts_for, keeping=keeping, sharded=sharded),
        heartbeat_channel=names.beat,
        subscribes=subscribes,
        timing=timing,
    )


def _script(text: str) -> Script:
    # Redis names scripts by SHA-1; nothing about it is meant to be secure.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def _text(name: str) -> str:
    return (files("wsroom.adapters.redis") / f"{name}.lua").read_text()


def keys(channel: str) -> tuple[str, str]:
    """The keys of a sequence: its state, which is named like its channel, and its history."""
    return channel, f"{channel}:history"
