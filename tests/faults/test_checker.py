"""The checker reports each kind of flaw, and nothing that is allowed."""

from __future__ import annotations

import pytest

from tests.faults.checker import (
    GAP,
    JOINED,
    LEFT,
    MESSAGE,
    Entry,
    Key,
    Membership,
    SentMessage,
    Trace,
    check,
)

A, B = Membership("a", "room"), Membership("b", "room")


def trace(text: str) -> Trace:
    """Make a trace of words: `+` joined, `-` left, `!` gap, p1 a message, at the time of its n.

    Joins and leaves are half a second after the previous entry, gaps just before the next one.
    """
    entries: Trace = []
    for word in reversed(text.split()):
        if word == "!":
            entries.append(Entry(entries[-1].time if entries else 9, GAP))
        elif word not in "+-":
            key = Key(word[0], int(word[1:]))
            entries.append(Entry(key.n, MESSAGE, key))
        else:
            entries.append(Entry(0, JOINED if word == "+" else LEFT))
    entries.reverse()
    for at, entry in enumerate(entries):
        if at and entry.kind in (JOINED, LEFT):
            entries[at] = entry._replace(time=entries[at - 1].time + 0.5)
    return entries


def said(by: str, *numbers: int, room: str = "room", without: str = "") -> list[SentMessage]:
    """Make messages, sent at the time of their number; negative ones were not accepted."""
    return [
        SentMessage(Key(by, abs(n)), room, abs(n), None if n < 0 else n + 0.1, without=without)
        for n in numbers
    ]


FINE = {
    "all of it": ("+ p1 p2 p3 p4", "+ p1 p2 p3 p4"),
    "joined later": ("+ p1 p2 p3 p4", "p2 + p3 p4"),
    "left earlier": ("+ p1 p2 p3 p4", "+ p1 p2 -"),
    "left, joined again": ("+ p1 p2 p3 p4", "+ p1 - p2 + p3 p4"),
    "a gap that is reported": ("+ p1 p2 p3 p4", "+ p1 p2 ! p4"),
    "a gap that is reported to all": ("+ p1 p2 ! p4", "+ p1 p2 ! p4"),
    "gaps at different places": ("+ p1 p2 ! p4", "+ p1 ! p3 p4"),
    "a gap to the end": ("+ p1 p2 p3 p4", "+ p1 p2 p3 !"),
    "a gap reported a little late": ("+ p1 p2 p3 p4", "+ p1 p2 ! ! ! ! p4"),
}
FLAWED = {
    "a gap": ("+ p1 p2 p3 p4", "+ p1 p2 p4", "lost b p3"),
    "a gap for all": ("+ p1 p2 p4", "+ p1 p2 p4", "lost a p3, lost b p3"),
    "deaf": ("+ p1 p2 p3 p4", "+ p1 p2", "lost b p3, lost b p4"),
    "lost before leaving": ("+ p1 p2 p3 p4", "+ p1 p3 -", "lost b p2"),
    "a gap reported elsewhere": ("+ p1 p2 p3 p4", "+ p1 ! p2 p4", "lost b p3"),
    "a gap reported after a later message": ("+ p1 p2 p3 p4", "+ p1 p2 p4 !", "lost b p3"),
    "a double": ("+ p1 p2 p3 p4", "+ p1 p2 p2 p3 p4", "doubled b p2"),
    "a late double": ("+ p1 p2 p3 p4", "+ p1 p2 p3 p4 p2", "doubled b p2"),
    "a swap": ("+ p1 p2 p3 p4", "+ p1 p3 p2 p4", "reordered b p2, reordered everybody"),
    "a swap for all": ("+ p1 p3 p2 p4", "+ p1 p3 p2 p4", "reordered a p2, reordered b p2"),
    "a replay that is too long": ("+ p1 p2 p3 p4", "+ p1 p2 p1 p2 p3 p4", "doubled b p1, doubled"),
    "an unknown message": ("+ p1 p2 p3 p4", "+ p1 p2 q2 p3 p4", "invented b q2"),
}


def found(messages: list[SentMessage], one: str, two: str, late: float = 0) -> list[str]:
    flaws = check(messages, {A: trace(one), B: trace(two)}, late)
    return [f"{f.kind} {f.membership.client} {f.key.by}{f.key.n}" for f in flaws]


@pytest.mark.parametrize("case", FINE)
def test_what_is_allowed_is_no_flaw(case: str) -> None:
    """Joins, leaves, and gaps that were reported."""
    assert found(said("p", 1, 2, 3, 4), *FINE[case]) == []


@pytest.mark.parametrize("case", FLAWED)
def test_flaws_are_found(case: str) -> None:
    """With its kind, its client and its message."""
    one, two, expected = FLAWED[case]
    flaws = found(said("p", 1, 2, 3, 4), one, two)
    for flaw in expected.split(", "):
        assert any(each.startswith(flaw) for each in flaws), flaws
    assert {flaw.split()[0] for flaw in flaws} == {flaw.split()[0] for flaw in expected.split(", ")}


def test_what_was_not_accepted_may_be_missing_or_late_but_not_doubled() -> None:
    """Its publisher did not wait for it; its place in the order is the same for all clients."""
    messages = said("p", 1, -2, 3, 4)
    assert found(messages, "+ p1 p3 p4", "+ p1 p3 p4") == []
    assert found(messages, "+ p1 p3 p2 p4", "+ p1 p3 p2 p4") == []
    assert found(messages, "+ p1 p3 p2 p4", "+ p1 p2 p3 p4")[0].startswith("reordered everybody")
    assert found(messages, "+ p1 p2 p3 p2 p4", "+ p1 p3 p4")[0] == "doubled a p2"


def test_a_gap_may_be_reported_late_if_that_is_allowed() -> None:
    """But it must be reported within that time."""
    messages, one = said("p", 1, 2, 3, 4), "+ p1 p2 p3 p4"
    assert found(messages, one, "+ p1 p3 ! p4", late=1.5) == []
    assert found(messages, one, "+ p1 p3 p4 !", late=1.5) == ["lost b p2"]
    assert found(messages, one, "+ p1 p3 p4", late=1.5) == ["lost b p2"]
    assert found(messages, one, "+ p1 ! p3 p4", late=1.5) == []


def test_two_publishers_have_one_order() -> None:
    """Any order, but the same for all clients."""
    messages = [*said("p", 1, 2, 3), *said("q", 1, 2, 3)]
    one = "+ p1 q1 p2 q2 p3 q3"
    assert found(messages, one, one) == []
    assert found(messages, one, "+ q1 p1 q2 p2 q3 p3")[0].startswith("reordered everybody")
    assert "lost b q2" in found(messages, one, "+ p1 q1 p2 p3 q3")


def test_an_excluded_sender_gets_none_and_misses_none() -> None:
    """If it receives its own message, that is a flaw too."""
    messages = [*said("p", 1, 3), *said("b", 2, without="b")]
    assert found(messages, "+ p1 b2 p3", "+ p1 p3") == []
    assert found(messages, "+ p1 b2 p3", "+ p1 b2 p3") == ["leaked b b2"]
    assert found(messages, "+ p1 p3", "+ p1 p3") == ["lost a b2"]


def test_several_rooms_are_one_message_of_the_path() -> None:
    """It is for members of any of them, and part of the path's order."""
    message = SentMessage(Key("p", 1), "", 1, 1.1, rooms=("red", "blue"))
    red, path = Membership("a", "red"), Membership("a", "")
    got = [Entry(0, JOINED), Entry(1, MESSAGE, message.key)]
    assert check([message], {red: [Entry(0, JOINED)], path: got}) == []
    assert check([message], {path: [Entry(0, JOINED)]}) == []
    (flaw,) = check([message], {red: [Entry(0, JOINED)], path: [Entry(0, JOINED)]})
    assert (flaw.kind, flaw.membership) == ("lost", path)
