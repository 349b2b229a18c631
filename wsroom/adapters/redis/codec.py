"""The form of data in Redis: names of keys and channels, and emissions as bytes.

No I/O and no asyncio here. A record is four lines, the last of which is the payload:

    <epoch>:<seq>                     the offset, written by the script
    <version> <publisher> <number>    who published it; a publisher's numbers only grow
    <JSON or nothing>                 its audience, if that is not simply its room
    <payload>

The first line of a volatile emission is empty, because it has no place in the sequence. Its number
is that of the last emission of its publisher that must be delivered before it, or 0.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from wsroom.errors import SetupError
from wsroom.wire.emission import EMIT, Emission, Room
from wsroom.wire.offsets import Offset

_PUBLISHER = re.compile(r"([0-9]{1,4}) ([0-9a-f]{1,64}) ([0-9]{1,16})", re.ASCII)
_EPOCH = re.compile(r"([0-9a-f]{12})\.([0-9]{1,16})", re.ASCII)
_PREFIX = re.compile(r"[^\x00-\x20{}\x7f]{1,64}")

VERSION = 1


class Record(NamedTuple):
    """An emission as workers receive it."""

    epoch: str
    seq: int
    publisher: str
    number: int
    emission: Emission
    time: int | None = None
    """When Redis accepted it, in milliseconds since the epoch; only in the history."""


class VolatileRecord(NamedTuple):
    """A volatile emission as workers receive it."""

    publisher: str
    after: int
    """The number of the publisher's emission that must be delivered before it; 0 for none."""
    emission: Emission


class RedisNames:
    """The names of keys and channels under one prefix.

    Raises:
        SetupError: the prefix is invalid.

    """

    def __init__(self, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise SetupError(
                f"prefix {prefix!r} is invalid; use 1 to 64 characters without spaces and braces"
            )
        self.settings = f"{prefix}:settings"
        self.workers = f"{prefix}:workers"
        self.heartbeat = f"{prefix}:beat"
        """The beginning of the names of heartbeat channels."""
        self._start = f"{prefix}:{{"

    def channel(self, room: Room) -> str:
        """Return the channel of a sequence; `sequence_keys` makes the names of its keys from it.

        The braces are a hash tag: in a cluster, the channel and the keys have one slot. Neither a
        path nor the name of a room contains a line feed, so no two rooms share a channel.
        """
        return f"{self._start}{room.path}\n{room.name}}}"

    def room(self, channel: str) -> Room | None:
        """Return the sequence of a channel; None if it is not one of a room."""
        path, line_feed, name = channel.removeprefix(self._start).removesuffix("}").partition("\n")
        is_room = channel.startswith(self._start) and channel.endswith("}") and line_feed
        return Room(path, name) if is_room else None

    @property
    def all_channels(self) -> str:
        """The glob-style pattern of the channels of all rooms."""
        return re.sub(r"([*?\[\]\\])", r"\\\1", self._start) + "*"


def encode_record(publisher: str, number: int, emission: Emission) -> tuple[bytes, bytes, bytes]:
    """Encode an emission for the script, which adds the offset: the last three lines."""
    head = f"{emission.version} {publisher} {number}".encode()
    return head, _encode_audience(emission), emission.payload


def encode_volatile(publisher: str, after: int, emission: Emission) -> bytes:
    """Encode a volatile emission, which is published as it is."""
    return b"\n%b\n%b\n%b" % encode_record(publisher, after, emission)


def is_volatile(data: bytes) -> bool:
    """Return whether a message from a channel is a volatile emission."""
    return data.startswith(b"\n")


def _encode_audience(emission: Emission) -> bytes:
    audience: dict[str, Any] = {}
    if emission.sequence != emission.room:
        audience["room"] = tuple(emission.room)  # orjson does not accept subclasses
    for name in ("rooms", "except_socket", "except_session", "except_rooms"):
        value = getattr(emission, name)
        if value:
            audience[name] = value
    if emission.kind != EMIT:
        audience["kind"] = emission.kind
    return orjson.dumps(audience) if audience else b""


def decode_record(room: Room, data: bytes) -> Record:
    """Decode a message from the channel of `room`, or an entry of its history.

    Raises:
        ValueError: it is not a record.

    """
    offset, *lines = _lines(data)
    position = Offset.parse(offset.decode())
    if position is None:
        raise ValueError("no offset")
    publisher, number, emission, time = _decode_lines(room, *lines)
    return Record(*position, publisher, number, emission, time)


def begins_after(position: str | None, epoch: str) -> bool:
    """Return whether the state of this epoch is the first one after a position without state.

    Args:
        position: the epoch of the position; its number is 0.
        epoch: that of the state. used.lua makes both.

    """
    before, state = _EPOCH.fullmatch(position or ""), _EPOCH.fullmatch(epoch)
    if before is None or state is None or before[1] != state[1]:
        return False
    return int(state[2]) <= int(before[2])


def decode_volatile(room: Room, data: bytes) -> VolatileRecord:
    """Decode a message from the channel of `room` for which `is_volatile` is true.

    Raises:
        ValueError: it is not a record.

    """
    _, *lines = _lines(data)
    publisher, after, emission, _ = _decode_lines(room, *lines)
    return VolatileRecord(publisher, after, emission._replace(volatile=True))


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n", 3)
    if len(lines) != 4:
        raise ValueError("not four lines")
    return lines


def _decode_lines(
    room: Room, head: bytes, audience: bytes, payload: bytes
) -> tuple[str, int, Emission, int | None]:
    publisher = _PUBLISHER.fullmatch(head.decode())
    if publisher is None:
        raise ValueError("no publisher")
    version, time = int(publisher[1]), None
    if version != VERSION:
        # Of a later release: it has its place in the sequence, but this release cannot read it.
        emission = Emission(room, b"", kind="unknown", version=version)
    elif audience:
        values = orjson.loads(audience)
        if type(values) is not dict:
            raise ValueError("the audience is not an object")
        emission = _decode_audience(room, values, payload)
        time = _time(values.get("time"))
    else:
        emission = Emission(room, payload)
    return publisher[2], int(publisher[3]), emission, time


def _decode_audience(room: Room, values: dict[str, Any], payload: bytes) -> Emission:
    return Emission(
        room=_room(values["room"]) if "room" in values else room,
        payload=payload,
        rooms=_names(values, "rooms"),
        except_socket=_name(values.get("except_socket", "")),
        except_session=_name(values.get("except_session", "")),
        except_rooms=_names(values, "except_rooms"),
        kind=_name(values.get("kind", EMIT)),
    )


def _room(value: object) -> Room:
    if type(value) is not list or len(value) != 2:
        raise ValueError(f"{value!r} is not a room")
    return Room(_name(value[0]), _name(value[1]))


def _names(values: dict[str, Any], key: str) -> tuple[str, ...]:
    names = values.get(key, [])
    if type(names) is not list:
        raise ValueError(f"{names!r} is not a list of names")
    return tuple(map(_name, names))


def _time(value: object) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError(f"{value!r} is not a time")
    return value


def _name(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r} is not a name")
    return value
