"""Names of events and rooms that an app or a client uses."""

from __future__ import annotations

import pytest

from wsroom.limits import Limits
from wsroom.wire.names import MAX_NAMES, NameChecker

LIMITS = Limits(event_name=5, room_name=4)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("", "event '' is empty; use another name"),
        ("abcdef", "event 'abcdef' is longer than 5 characters; use another name"),
        ("a\nb", r"event 'a\nb' contains a control character; use another name"),
        ("reply", "event 'reply' is part of the protocol; use another name"),
    ],
)
def test_an_invalid_event_is_refused_each_time(event: str, sentence: str) -> None:
    """The sentence names the event, the reason, and what to do; nothing invalid is remembered."""
    names = NameChecker(LIMITS)
    for _ in range(2):
        with pytest.raises(ValueError) as failure:
            names.check_event(event)
        assert str(failure.value) == sentence


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        ("", "room '' is empty; use another name"),
        ("ééé", "room 'ééé' is longer than 4 bytes; use another name"),
        ("\ud800", r"room '\ud800' contains an unpaired surrogate; use another name"),
        (["chat"], "room ['chat'] must be a string; use another name"),
        (7, "room 7 must be a string; use another name"),
    ],
)
def test_an_invalid_room_is_refused_each_time(room: str, sentence: str) -> None:
    """The same for rooms, whatever was given."""
    names = NameChecker(LIMITS)
    for _ in range(2):
        with pytest.raises(ValueError) as failure:
            names.check_room(room)
        assert str(failure.value) == sentence


def test_valid_names_are_accepted_again() -> None:
    """A name that was checked once stays valid; events and rooms do not share a memory."""
    names = NameChecker(LIMITS)
    for _ in range(2):
        names.check_event("abcde")
        names.check_room("éé")
    with pytest.raises(ValueError):
        names.check_room("abcde")


def test_without_limits_the_other_side_decides_how_long_a_name_is() -> None:
    """Everything else is still checked."""
    names = NameChecker(None)
    names.check_event("e" * 10_000)
    names.check_room("r" * 10_000)
    with pytest.raises(ValueError, match="is empty"):
        names.check_room("")
    with pytest.raises(ValueError, match="part of the protocol"):
        names.check_event("joinRoom")


def test_the_memory_is_bounded() -> None:
    """More valid names than it remembers are all accepted, early ones again."""
    names = NameChecker(None)
    for number in range(MAX_NAMES + 1):
        names.check_room(str(number))
    assert names._rooms == {str(MAX_NAMES)}
    names.check_room("0")
