"""The Lua scripts that Redis runs, in the form that each server gets them."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.resources import files
from itertools import product
from typing import NamedTuple

from redis.crc import key_slot

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.commands import Script, Scripts
from wsroom.adapters.redis.network.link import NetworkSettings
from wsroom.timing import Timing
from wsroom.wire.offsets import ROOM_BYTES

STATE_TTL = 3600
"""Seconds that a room's position outlives its history, and its last member."""

MOST_USED = 50_000
"""How many rooms with emissions are remembered: of a server, or of a slot of a cluster.

The offset of a room in which nothing was emitted is valid until that many others have begun. They
take 120 bytes each. A later release must not raise it: former ones have removed the others.
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


def scripts_for(
    run_id: str, history: HistorySettings, *, sharded: bool, most_used: int = MOST_USED
) -> Scripts:
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
        "MOST_USED": str(most_used),
        "USED_STEP": str(most_used // 10),
        "PUBLISH": "'SPUBLISH'" if sharded else "'PUBLISH'",
    }
    head = f"local {', '.join(settings)} = {', '.join(settings.values())}\n"
    return {name: _script(head + _text(name)) for name in ("publish", "read", "presence")}


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
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), keys=3)


@cache
def _text(name: str) -> str:
    # Not a Lua function, which each run of a script would make again, mostly for nothing.
    text, used = [
        (files("wsroom.adapters.redis") / f"{file}.lua").read_text() for file in (name, "used")
    ]
    return text.replace("  -- used.lua\n", used)


def sequence_keys(channel: str, *, sharded: bool) -> tuple[str, str, str]:
    """Return the keys of a sequence: its state, named like its channel, its history, and a set.

    The set is that of used.lua: one for all rooms, or in a cluster one for those of each slot.
    """
    used = f"{channel.partition('{')[0]}used"
    if sharded:
        used = f"{used}:{{{_slot_tags()[key_slot(channel.encode())]}}}"
    return channel, f"{channel}:history", used


@cache
def _slot_tags() -> dict[int, str]:
    # These letters differ in four bits, so 14 bits of the tags do: one tag for each slot.
    letters = product("@ABC", *["@ABCDEFGHIJKLMNO"] * 3)
    return {key_slot(tag.encode()): tag for tag in map("".join, letters)}
