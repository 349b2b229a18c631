"""Log lines: not repeated, and without empty names."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from wsroom.logs import LogOnce, MaskQuery, about
from wsroom.wire.emission import Room


def test_each_key_is_logged_once() -> None:
    """A key is due once, whatever other keys do."""
    once = LogOnce()
    assert [once.due("a"), once.due("b"), once.due("a"), once.due("b")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_key_is_due_again_after_the_interval() -> None:
    """The interval begins with the line that was logged last."""
    once = LogOnce(again_after=60.0)
    assert [once.due(now=at) for at in (5.0, 64.9, 65.0, 124.9, 125.0)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_reset_key_is_due_again() -> None:
    """`reset` returns whether a line had been logged."""
    once = LogOnce()
    assert not once.reset()
    assert once.due()
    assert once.reset()
    assert once.due()


def test_the_number_of_keys_is_bounded() -> None:
    """With all places taken, other keys are never due; one that is reset makes room."""
    once = LogOnce(most=2)
    assert [once.due(key) for key in "abc"] == [True, True, False]
    once.reset("a")
    assert once.due("c")


@pytest.mark.parametrize(
    "room, text",
    [
        (Room("/ws", "chat"), "room 'chat' on /ws"),
        (Room("/ws", "a\nb"), "room 'a\\nb' on /ws"),
        (Room("/ws", ""), "the path /ws"),
        (Room("", "ws:b990d95b"), "worker ws:b990d95b"),
        (Room("/ws", "ws:b990d95b.1"), "socket ws:b990d95b.1"),
    ],
)
def test_a_room_is_described_without_empty_names(room: Room, text: str) -> None:
    """Also the path as a whole, and a worker's sequence of messages to its sockets."""
    assert room.describe() == text


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("1.2.3.4:5", "/ws?token=abc&room=5"), '1.2.3.4:5 - "WebSocket /ws?token=***&room=***"'),
        (("", "/ws?token=a%3Fb=c"), ' - "WebSocket /ws?token=***"'),
        (("", "ws://a/ws?token=&x=1"), ' - "WebSocket ws://a/ws?token=&x=***"'),
        (("", "/ws?abc"), ' - "WebSocket /ws?abc"'),
        (("/a=b", "why? a=b"), '/a=b - "WebSocket why? a=b"'),
        ((5, None), '5 - "WebSocket None"'),
    ],
)
def test_the_values_of_query_strings_are_masked(args: tuple[Any, Any], line: str) -> None:
    """In arguments that are paths or URLs; the names stay."""
    record = logging.LogRecord("x", logging.INFO, "", 1, '%s - "WebSocket %s"', args, None)
    assert MaskQuery().filter(record)
    assert record.getMessage() == line


def test_a_line_without_arguments_stays() -> None:
    """A mapping as the argument, too."""
    for args, line in [(None, "a?b=c"), (({"a": "/?b=c"},), "/?b=c")]:
        text = "%(a)s" if args else "a?b=c"
        record = logging.LogRecord("x", logging.INFO, "", 1, text, args, None)
        assert MaskQuery().filter(record)
        assert record.getMessage() == line


def test_a_line_says_what_it_is_about() -> None:
    """Only what is known; the worker is the first part of a socket's id."""
    assert about(path="/ws") == {"path": "/ws"}
    assert about(path="/ws", room="chat", event="say", socket_id="ws:ab.1") == {
        "path": "/ws",
        "room": "chat",
        "event": "say",
        "socket_id": "ws:ab.1",
        "worker": "ws:ab",
    }
    assert Room("/ws", "chat").log_extra() == {"path": "/ws", "room": "chat"}
    assert Room("", "ws:ab").log_extra() == {"socket_id": "ws:ab", "worker": "ws:ab"}
