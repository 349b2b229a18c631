"""History by itself: offsets, what is kept and for how long, against a plain model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsroom import MemoryAdapter, SetupError
from wsroom.adapters import Emission, Past
from wsroom.adapters.history import ENTRY_BYTES, History
from wsroom.wire.emission import Room
from wsroom.wire.offsets import ROOM_BYTES, Offset

CHAT = Room("/ws", "chat")
NEWS = Room("/ws", "news")
MANY = 10**9


def said(text: str, room: Room = CHAT) -> Emission:
    return Emission(room, text.encode())


def texts(past: Past) -> list[str] | None:
    """The texts of what was missed; None where that is not known."""
    if not past.complete:
        assert past.emissions == ()
        return None
    return [emission.payload.decode() for emission, _ in past.emissions]


@pytest.mark.parametrize(
    "offset", ["a:0", "a:1", "a:b:17", "é:9", "-_:12345678901234567890"], ids=ascii
)
def test_an_offset_is_read_as_it_was_written(offset: str) -> None:
    """Epoch and position, whatever the epoch looks like."""
    parsed = Offset.parse(offset)
    assert parsed is not None and str(parsed) == offset


RUBBISH: list[object] = ["", ":", "a", "a:", ":1", "a:01", "a:-1", "a:+1", "a:1 ", "a:1.0", "a:1_0"]
RUBBISH += ["a:\u0661", "a:²", "a:" + "1" * 5000, "a" * 5000 + ":1"]
RUBBISH += [None, 1, True, 1.5, ["a:1"], {"a": 1}, b"a:1"]


@pytest.mark.parametrize("offset", RUBBISH, ids=lambda offset: repr(offset)[:20])
def test_rubbish_is_no_offset(offset: object) -> None:
    """It comes from clients, so nothing that they send may raise."""
    assert Offset.parse(offset) is None


@settings(max_examples=300, deadline=None)
@given(
    history=st.integers(0, 5),
    ttl=st.integers(1, 5),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.sampled_from("ab")),
            st.tuples(st.just("subscribe"), st.sampled_from("ab")),
            st.tuples(st.just("unsubscribe"), st.sampled_from("ab")),
            st.tuples(st.just("wait"), st.integers(1, 4)),
        ),
        max_size=60,
    ),
)
def test_history_is_what_a_naive_one_would_be(
    history: int, ttl: int, steps: list[tuple[str, Any]]
) -> None:
    """After any steps each offset ever told is answered in full, or not at all."""
    real, naive = History(history, ttl, MANY), Naive(history, ttl)
    told: dict[str, list[tuple[Offset, tuple[int, int]]]] = {"a": [], "b": []}
    now = 0
    for number, (step, value) in enumerate(steps):
        if step == "wait":
            now += value
            continue
        room = Room("/ws", value)
        naive.expire(now)
        if step == "unsubscribe":
            real.unsubscribe(room, now)
            naive.unsubscribe(value, now)
            continue
        if step == "subscribe":
            offset: Offset | None = real.subscribe(room, now)
            place: tuple[int, int] | None = naive.subscribe(value)
        else:
            offset = real.append(said(str(number), room), now)
            place = naive.publish(value, str(number), now)
        assert (offset is None) == (place is None)
        if offset is not None and place is not None:
            told[value].append((offset, place))
        for name, offsets in told.items():
            for since, theirs in offsets:
                past = real.read(Room("/ws", name), since, now)
                assert texts(past) == naive.read(name, theirs)
    # Equal offsets mean equal places, and nothing is kept for longer than it may be.
    pairs = [pair for offsets in told.values() for pair in offsets]
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(set(pairs))
    naive.expire(now + ttl)
    real.read(CHAT, None, now + ttl)
    assert real.size == 0
    assert len(real) == len(naive.rooms)


class Naive:
    """The same without bounds of size, by lists alone."""

    def __init__(self, history: int, ttl: int) -> None:
        self.history = history
        self.ttl = ttl
        self.rooms: dict[str, dict[str, Any]] = {}
        self.made = 0

    def expire(self, now: int) -> None:
        for name, room in list(self.rooms.items()):
            if not room["here"] and room["used"] + self.ttl <= now:
                del self.rooms[name]
            if room["last"] + self.ttl <= now:
                room["kept"] = 0

    def subscribe(self, name: str) -> tuple[int, int]:
        if name not in self.rooms:
            self.made += 1
            self.rooms[name] = {"epoch": self.made, "all": [], "kept": 0, "last": 0, "used": 0}
        room = self.rooms[name]
        room["here"] = True
        return room["epoch"], len(room["all"])

    def unsubscribe(self, name: str, now: int) -> None:
        room = self.rooms.get(name)
        if room and room["here"]:
            room["here"], room["used"] = False, now

    def publish(self, name: str, text: str, now: int) -> tuple[int, int] | None:
        room = self.rooms.get(name)
        if room is None:
            return None
        room["all"].append(text)
        room["kept"] = min(room["kept"] + 1, self.history)
        room["last"] = room["used"] = now
        return room["epoch"], len(room["all"])

    def read(self, name: str, since: tuple[int, int]) -> list[str] | None:
        room = self.rooms.get(name)
        if room is None or room["epoch"] != since[0]:
            return None
        missed: list[str] = room["all"][since[1] :]
        return missed if len(missed) <= room["kept"] else None


def test_where_nothing_was_missed_all_is_known() -> None:
    """However long ago it was, and where nothing at all is kept."""
    for history in (0, 100):
        log = History(history, 300, MANY)
        log.subscribe(CHAT, 0)
        offset = log.append(said("hi"), 1)
        assert offset is not None
        assert log.read(CHAT, offset, 10_000) == (offset, True, ())


def test_a_room_that_was_forgotten_is_another_one() -> None:
    """Its offsets are new, so those of before are never taken for them."""
    log = History(100, 300, MANY)
    first = log.subscribe(CHAT, 0)
    log.unsubscribe(CHAT, 0)
    assert log.subscribe(CHAT, 299) == first
    log.unsubscribe(CHAT, 300)
    second = log.subscribe(CHAT, 600)
    assert second != first
    assert log.read(CHAT, first, 600) == (second, False, ())


def test_a_read_brings_300_at_the_most() -> None:
    """One more is not complete, though history has them."""
    log = History(1000, 300, MANY)
    first = log.subscribe(CHAT, 0)
    for number in range(300):
        log.append(said(str(number)), 0)
    assert len(texts(log.read(CHAT, first, 0)) or ()) == 300
    log.append(said("one more"), 0)
    assert texts(log.read(CHAT, first, 0)) is None


def test_a_room_has_a_mebibyte() -> None:
    """The oldest go; one message that is larger by itself is not kept at all."""
    log = History(100, 300, MANY)
    first = log.subscribe(CHAT, 0)
    half = ROOM_BYTES // 2 - ENTRY_BYTES
    log.append(said("x" * half), 0)
    second = log.append(said("x" * half), 0)
    assert second is not None and log.size == ROOM_BYTES
    assert texts(log.read(CHAT, first, 0)) is not None
    third = log.append(said("y"), 0)
    assert third is not None and texts(log.read(CHAT, first, 0)) is None
    assert texts(log.read(CHAT, second, 0)) == ["y"]
    log.append(said("x" * ROOM_BYTES), 0)
    assert log.size == 0 and texts(log.read(CHAT, third, 0)) is None
    last = log.append(said("z"), 0)
    assert last is not None and log.size == ENTRY_BYTES + 1


def test_all_rooms_together_have_a_limit() -> None:
    """Beyond it the room to which nothing has come for longest loses its oldest."""
    log = History(100, 300, 4 * (ENTRY_BYTES + 1))
    since = {room: log.subscribe(room, 0) for room in (CHAT, NEWS)}
    after = {room: log.append(said("1", room), 0) for room in (CHAT, NEWS)}
    log.append(said("2", NEWS), 1)
    log.append(said("2", CHAT), 2)
    log.append(said("3", CHAT), 3)
    assert log.size == 4 * (ENTRY_BYTES + 1)
    assert texts(log.read(NEWS, since[NEWS], 3)) is None
    assert texts(log.read(NEWS, after[NEWS], 3)) == ["2"]
    assert texts(log.read(CHAT, since[CHAT], 3)) == ["1", "2", "3"]
    for number in range(4, 10):
        log.append(said(str(number), CHAT), 4)
    assert texts(log.read(NEWS, after[NEWS], 4)) is None
    assert log.size == 4 * (ENTRY_BYTES + 1)


def test_names_in_an_emission_count() -> None:
    """An emission to thousands of rooms takes more than its payload."""
    log = History(100, 300, MANY)
    log.subscribe(CHAT, 0)
    log.append(Emission(CHAT, b"x", tuple(map(str, range(1000))), except_rooms=("y",)), 0)
    assert log.size > 100_000


def test_rooms_without_members_are_bounded() -> None:
    """The one that was left longest ago is forgotten; those with members are not counted."""
    log = History(100, 300, MANY, idle=2)
    rooms = [Room("/ws", str(number)) for number in range(5)]
    first = {room: log.subscribe(room, 0) for room in rooms}
    for room in rooms:
        log.append(said("hi", room), 0)
    for room in rooms[:3]:
        log.unsubscribe(room, 1)
    log.append(said("ho", rooms[1]), 2)
    log.unsubscribe(rooms[3], 3)
    assert len(log) == 3 and log.size == 4 * (ENTRY_BYTES + 2)
    kept = [texts(log.read(room, first[room], 3)) for room in rooms]
    assert kept == [None, ["hi", "ho"], None, ["hi"], ["hi"]]


def test_nothing_is_kept_of_rooms_that_nobody_knows() -> None:
    """No offset was ever told there, so nobody can ask."""
    log = History(100, 300, MANY)
    assert log.append(said("hi"), 0) is None
    log.unsubscribe(CHAT, 0)
    assert log.read(CHAT, Offset("1", 0), 0) == (None, False, ())
    assert len(log) == log.size == 0


@pytest.mark.parametrize(
    "options",
    [
        {"history": -1},
        {"history": 1.5},
        {"history": True},
        {"history": None},
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": float("nan")},
        {"ttl": None},
        {"ttl": "5 min"},
        {"max_bytes": "1 GB"},
        {"max_bytes": None},
        {"max_bytes": 0},
        {"max_bytes": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_a_setup_error(options: dict[str, Any]) -> None:
    """At once, with the number in the message."""
    ((name, value),) = options.items()
    with pytest.raises(SetupError, match=f"{name} is {value!r}"):
        MemoryAdapter(**options)


async def test_two_adapters_never_share_an_offset() -> None:
    """Nor does one with another in a process forked from the same one: it is named at the start."""
    offsets = set()
    for _ in range(2):
        adapter = MemoryAdapter()
        await adapter.start(lambda emission, offset: None)
        offsets.add(await adapter.subscribe(CHAT))
    assert len(offsets) == 2
