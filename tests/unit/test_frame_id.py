"""The id of a frame that is not read: found only where it surely is the frame's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsroom.errors import ProtocolError
from wsroom.limits import Limits
from wsroom.wire.frame_id import MAX_ID, WINDOW, find_id
from wsroom.wire.protocol import decode, encode_inbound

LONG = "x" * 1000


@pytest.mark.parametrize(
    "text, id",
    [
        ('{"id":7,"event":"e"}', 7),
        (' \t\r\n{ "id" : 7 , "event":"e"}', 7),
        ('{"id":7}', 7),
        ('{"id":-7,', -7),
        ('{"id":0,', 0),
        ('{"id":9223372036854775807,', 2**63 - 1),
        ('{"id":18446744073709551615,', 2**64 - 1),
        ('{"id":"","event":"e"', ""),
        ('{"id":"a\\"b\\\\","event":"e"', 'a"b\\'),
        ('{"id":"\\u00e9,\\"id\\":5}"}', 'é,"id":5}'),
        ('{"id":"é\U0001f600"}', "é\U0001f600"),
        ('{"id":"' + "é" * 100 + '",', "é" * 100),
        ('{"id":1,"id":2}', 1),
        ('{"id":1,"event":"e","message":{"id":2}', 1),
        ('{"id":1,"event":"e","message":' + LONG, 1),
        ('{"id":1,\x00', 1),
    ],
)
@pytest.mark.parametrize("may_be_json", [True, False])
def test_the_first_key_is_found(text: str, id: str | int, may_be_json: bool) -> None:
    """Whatever follows: only the frame's own object is open there."""
    found = find_id(text, may_be_json=may_be_json)
    assert (type(found), found) == (type(id), id)


@pytest.mark.parametrize(
    "text, id",
    [
        ('{"event":"e","message":"' + LONG + '","id":7}', 7),
        ('{"event":"e","message":"' + LONG + '" , "id" : "a" } \n', "a"),
        ('{"event":"e","message":{"id":1,"text":"' + LONG + '"},"id":2}', 2),
        ('{"event":"e","message":"' + LONG + '","id":"\\"id\\":5}"}', '"id":5}'),
        ('{"event":"e","message":"' + LONG + '","id":"' + "é" * 100 + '"}', "é" * 100),
        ('{"event":"e","id":1,"message":"' + LONG + '","id":2}', 2),
    ],
)
def test_the_last_key_is_found(text: str, id: str | int) -> None:
    """In a frame that is not JSON too, unless it was cut off inside its message."""
    assert find_id(text, may_be_json=True) == id
    assert find_id(text, may_be_json=False) == id
    for cut_off in ('{"event":"e","message":', '{"event":"}","message":'):
        assert find_id(cut_off + text, may_be_json=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "id",
        '"id":7',
        '"id":7}',
        '["id",7]',
        '[{"id":7},8]',
        '[{"id":7}]',
        '{"message":{"id":7}}',
        '{"message":{"id":7,"a":1}}',
        '{"message":"' + LONG + '","x":{"id":7}}',
        '{"message":[{"id":7}]}',
        # text of the message that looks like a key
        '{"message":"{\\"id\\":7,"}',
        '{"message":"' + LONG + ',\\"id\\":7}"}',
        '{"message":"' + LONG + ',\\"id\\":\\"7"}',
        '{"message":",\\\\\\"id\\":7}"}',
        # another key
        '{"x,\\"id":7}',
        '{"x\\"id":7}',
        '{" id":7,',
        '{"ID":7,',
        '{"message":{"a":1,"x\\",\\"id":7}}',
        # an invalid value
        '{"id":null,"event":"e"}',
        '{"id":true,',
        '{"id":1.5,',
        '{"id":1e3,',
        '{"id":01,',
        '{"id":+1,',
        '{"id":--1,',
        '{"id":[7],',
        '{"id":{"id":7},"event":"e"}',
        '{"id":18446744073709551616,',
        '{"id":-9223372036854775809,',
        '{"id":123456789012345678901234567890,',
        '{"id":"' + "x" * (MAX_ID + 1) + '",',
        '{"id":"' + "é" * 101 + '",',
        '{"id":"\\ud800",',
        '{"id":"\ud800",',
        '{"id":"\udcff",',
        '{"id":"a\\x",',
        '{"id":"a\nb",',
        '{"id":"a',
        '{"id":7',
        '{"id":٣,',
        # outside the windows
        " " * WINDOW + '{"id":7,"event":"e"}',
        '{"event":"' + LONG + '","id":7' + " " * WINDOW + "}",
        '{"event":"' + LONG + '","id":7, "more":"' + LONG + '"}',
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    """An `id` in the message, text that looks like a key, an invalid value: no answer has it."""
    assert find_id(text, may_be_json=True) is None


STRINGS = st.text(st.sampled_from('"\\{}[]:, id7\n') | st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers() | STRINGS | st.just({"id": 7}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS | st.just("id"), inner),
    max_leaves=8,
)


@given(st.dictionaries(STRINGS | st.sampled_from(["id", "event", "message"]), VALUES), st.data())
def test_what_is_found_is_the_frames_own(frame: dict[str, Any], data: st.DataObject) -> None:
    """In any JSON, also in one that is cut off anywhere, the id is the object's own, or none."""
    separators = data.draw(st.sampled_from([(",", ":"), (", ", " : ")]))
    text = json.dumps(frame, ensure_ascii=data.draw(st.booleans()), separators=separators)
    found = find_id(text, may_be_json=True)
    assert found is None or found == frame["id"]
    cut = text[: data.draw(st.integers(0, len(text)))]
    found = find_id(cut, may_be_json=False)
    assert found is None or found == frame["id"]


@given(STRINGS.filter(bool), VALUES)
def test_our_own_frames_have_an_id_wherever_they_break(event: str, message: Any) -> None:
    """The Python client writes it first, so the server finds it in the parts that it gets."""
    try:
        text = encode_inbound(event, message, 3).decode()
    except TypeError:  # an integer of more than 64 bits
        return
    assert text.startswith('{"id":3,"event":')
    for size in (8, len(text) // 2, len(text) - 1):
        if size >= 8:
            assert find_id(text[:size], may_be_json=False) == 3


@pytest.mark.parametrize(
    "text, code, id",
    [
        ('{"id":1,"event":"e","message":"' + LONG + '"}', "too_large", 1),
        ('{"event":"e","message":"' + LONG + '","id":1}', "too_large", 1),
        ('{"event":"e","message":{"id":1,"text":"' + LONG + '"}}', "too_large", None),
        ('{"id":1,"event":"e","message":NaN}', "bad_frame", 1),
        ('{"id":1,"event":"e","message":"\\ud800"}', "bad_frame", 1),
        ('{"id":1,"event":"e"', "bad_frame", 1),
        ('{"event":"e","message":{"a":1,"id":1}', "bad_frame", None),
        ('{"id":1,"event":5}', "bad_frame", 1),
        ('{"id":1}', "bad_frame", 1),
        ('{"id":1,"event":""}', "bad_frame", 1),
        ('{"id":1,"event":"a\\u0000"}', "bad_frame", 1),
        ('{"id":1,"event":"' + "e" * 65 + '"}', "bad_frame", 1),
        ('{"id":1,"event":"e","message":' + "[" * 64 + "]" * 64 + "}", "bad_frame", 1),
        ('{"id":1,"event":"e","message":' + "[" * 1100 + "]" * 1100 + "}", "bad_frame", 1),
        ('{"id":1.5,"event":"e"}', "bad_frame", None),
        ('["id",1]', "bad_frame", None),
    ],
)
def test_each_error_of_a_frame_has_its_id(text: str, code: str, id: int | None) -> None:
    """Whatever is wrong with the frame, as long as it has a valid id at a safe place."""
    limits = Limits(frame_size=65536 if "[[[" in text else 500)
    with pytest.raises(ProtocolError) as caught:
        decode(text, limits)
    assert (caught.value.code, caught.value.id) == (code, id)
