"""The wire protocol: reading and encoding frames."""

from __future__ import annotations

import datetime
import enum
import json
import math
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroom.adapters import Offset
from wsroom.errors import ProtocolError
from wsroom.limits import Limits
from wsroom.wire import protocol

LIMITS = Limits()


def nested(depth: int) -> str:
    """A frame of `depth` levels, the first of which is its own object."""
    return '{"event":"e","message":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    "text, inbound",
    [
        ('{"event":"intro","message":"hi"}', ("intro", "hi", None)),
        ('{"event":"intro"}', ("intro", None, None)),
        ('{"event":"intro","message":1,"id":7}', ("intro", 1, 7)),
        ('{"event":"intro","message":1,"id":"a"}', ("intro", 1, "a")),
        ('{"event":"intro","message":1,"id":null}', ("intro", 1, None)),
        ('{"event":"intro","message":1,"room":"x","sender":"y"}', ("intro", 1, None)),
        ('{"event":"' + "e" * 64 + '"}', ("e" * 64, None, None)),
        ('{"event":"\U0001f600"}', ("\U0001f600", None, None)),
        ('{"event":"__class__"}', ("__class__", None, None)),
        ('{"event":"a","id":"' + "é" * 100 + '"}', ("a", None, "é" * 100)),
    ],
)
def test_a_valid_frame_is_read(text: str, inbound: tuple[Any, ...]) -> None:
    """It becomes event, message and id; unknown keys are ignored."""
    frame = protocol.decode(text, LIMITS)
    assert (frame.event, frame.message, frame.id) == inbound


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        '"text"',
        "null",
        "1",
        "{}",
        '{"message":1}',
        '{"event":null}',
        '{"event":1}',
        '{"event":true}',
        '{"event":[]}',
        '{"event":{}}',
        '{"event":""}',
        '{"event":"' + "e" * 65 + '"}',
        '{"event":"a\\u0000"}',
        '{"event":"a\\n"}',
        '{"event":"a\\u007f"}',
        '{"event":"a\\u0085"}',
        '{"event":"\\ud800"}',
        '{"event":"a","message":NaN}',
        '{"event":"a","message":1e999}',
        '{"event":"a","message":-Infinity}',
        '{"event":"a","id":1.5}',
        '{"event":"a","id":true}',
        '{"event":"a","id":[]}',
        '{"event":"a","id":"' + "x" * 201 + '"}',
        '{"event":"a","id":"' + "é" * 101 + '"}',
        nested(65),
        nested(300),
        nested(1025),
        "\ud800",
    ],
)
def test_an_invalid_frame_is_a_bad_frame(text: str) -> None:
    """The error has the code `bad_frame` and a sentence."""
    with pytest.raises(ProtocolError) as caught:
        protocol.decode(text, LIMITS)
    assert caught.value.code == "bad_frame"
    assert caught.value.detail


def test_the_id_of_a_bad_frame_is_kept_for_the_answer() -> None:
    """A client that waits for an answer gets the error with its id."""
    with pytest.raises(ProtocolError) as caught:
        protocol.decode('{"event":1,"id":7}', LIMITS)
    assert caught.value.id == 7


def test_nesting_up_to_the_limit_is_valid() -> None:
    """The frame's own object is the first of 64 levels; brackets in strings do not count."""
    assert protocol.decode(nested(64), LIMITS).event == "e"
    assert protocol.decode('{"event":"e","message":"' + "[" * 100 + '"}', LIMITS).event == "e"
    wide = '{"event":"e","message":[' + ",".join(["[]"] * 100) + "]}"
    assert protocol.decode(wide, LIMITS).event == "e"


@given(st.recursive(st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=3)))
def test_depth_is_counted_as_json_nests(value: Any) -> None:
    """The check equals a recursive count."""

    def depth(value: Any) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    limits = Limits(depth=3)
    text = json.dumps({"event": "e", "message": value})
    try:
        protocol.decode(text, limits)
        accepted = True
    except ProtocolError:
        accepted = False
    assert accepted is (1 + depth(value) <= 3)


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f600"])
def test_a_frame_is_measured_in_bytes(filler: str) -> None:
    """A frame of exactly the limit is valid; one byte more is `too_large`."""
    frame = '{"event":"e","message":"%s"}'
    room = LIMITS.frame_size - len(frame) + 2
    count, rest = divmod(room, len(filler.encode()))
    fits = frame % (filler * count + "x" * rest)
    assert len(fits.encode()) == LIMITS.frame_size
    assert protocol.decode(fits, LIMITS).event == "e"
    with pytest.raises(ProtocolError) as caught:
        protocol.decode(frame % (filler * count + "x" * (rest + 1)), LIMITS)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    "room", ["chat", "\U0001f600", "a:b", "{x}", "*", "x" * 128, " ", "é" * 64]
)
def test_a_valid_room_is_read(room: str) -> None:
    """Characters with a meaning in patterns have none in names."""
    assert protocol.read_room(room, LIMITS) == room


INVALID_ROOMS: list[object] = [
    None,
    True,
    1,
    1.5,
    [],
    {},
    ["chat"],
    "",
    "x" * 129,
    "é" * 65,
    "a\0",
    "\x1b",
    "\ud800",
]


@pytest.mark.parametrize("room", [*INVALID_ROOMS, "ws:", "ws:1234.abcd"])
def test_an_invalid_room_is_a_bad_room(room: object) -> None:
    """A room's name is a string of 1 to 128 bytes; sockets' ids cannot be joined."""
    with pytest.raises(ProtocolError) as caught:
        protocol.read_room(room, LIMITS)
    assert caught.value.code == "bad_room"


def test_a_server_frame_has_exactly_its_keys() -> None:
    """event, message, sender, room; an id if it is an answer; an offset if one is added."""
    payload = protocol.encode("intro", {"a": [1, None]}, "ws:1", "chat")
    assert payload == b'{"event":"intro","message":{"a":[1,null]},"sender":"ws:1","room":"chat"}'
    assert json.loads(protocol.encode_reply(None, 0)) == {
        "event": "reply",
        "message": None,
        "sender": None,
        "room": None,
        "id": 0,
    }
    assert json.loads(protocol.encode_error("forbidden", "no", "intro", "x")) == {
        "event": "error",
        "message": {"code": "forbidden", "detail": "no", "event": "intro"},
        "sender": None,
        "room": None,
        "id": "x",
    }
    assert json.loads(protocol.with_offset(payload, Offset("e", 1)))["offset"] == "e:1"


@dataclass
class Point:
    x: float
    y: Any = None


class Colour(enum.Enum):
    RED = 1
    NOT = math.nan


@pytest.mark.parametrize(
    "message",
    [
        math.nan,
        math.inf,
        -math.inf,
        [1, math.nan],
        {"a": {"b": (1, math.inf)}},
        Point(math.nan),
        Point(1, [Point(math.inf)]),
        Colour.NOT,
        OrderedDict(a=math.nan),
    ],
)
def test_nan_and_infinities_are_invalid(message: Any) -> None:
    """JSON cannot represent them, and null would be a wrong number."""
    with pytest.raises(ValueError, match="NaN"):
        protocol.encode("e", message)


@pytest.mark.parametrize("message", [b"bytes", 2**70, object(), {1: 2}, "\ud800", 1j])
def test_values_that_json_lacks_are_invalid(message: Any) -> None:
    """The error names the event and the reason."""
    with pytest.raises(TypeError, match="'e' is not JSON"):
        protocol.encode("e", message)


def test_common_values_are_encoded() -> None:
    """None, dataclasses, dates, UUIDs and tuples have a JSON form."""
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    message = [None, "null", Point(1.0), moment, uuid.UUID(int=1), (1, 2), Colour.RED, 2**64 - 1]
    assert json.loads(protocol.encode("e", message))["message"] == [
        None,
        "null",
        {"x": 1.0, "y": None},
        "2026-01-02T03:04:05+00:00",
        "00000000-0000-0000-0000-000000000001",
        [1, 2],
        1,
        2**64 - 1,
    ]


def test_a_payload_is_at_most_a_mebibyte() -> None:
    """The limit counts the whole frame."""
    overhead = len(protocol.encode("e", ""))
    assert len(protocol.encode("e", "x" * (2**20 - overhead))) == 2**20
    with pytest.raises(ValueError, match="1048577 bytes; at most 1048576 are"):
        protocol.encode("e", "x" * (2**20 - overhead + 1))
