"""The history alone: offsets, what is kept and for how long, compared with a naive model."""

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


def emission_of(text: str, room: Room = CHAT) -> Emission:
    return Emission(room, text.encode())


def texts(past: Past) -> list[str] | None:
    """The texts of the missed emissions; None if they are not complete."""
    if not past.complete:
        assert past.emissions == ()
        return None
    return [emission.payload.decode() for emission, _ in past.emissions]


@pytest.mark.parametrize(
    "offset", ["a:0", "a:1", "a:b:17", "é:9", "-_:12345678901234567890"], ids=ascii
)
def test_an_offset_is_read_as_it_was_written(offset: str) -> None:
    """Epoch and number, also if the epoch contains colons or other characters."""
    parsed = Offset.parse(offset)
    assert parsed is not None and str(parsed) == offset


INVALID: list[object] = ["", ":", "a", "a:", ":1", "a:01", "a:-1", "a:+1", "a:1 ", "a:1.0", "a:1_0"]
INVALID += ["a:\u0661", "a:²", "a:" + "1" * 5000, "a" * 5000 + ":1"]
INVALID += [None, 1, True, 1.5, ["a:1"], {"a": 1}, b"a:1"]


@pytest.mark.parametrize("offset", INVALID, ids=lambda offset: repr(offset)[:20])
def test_an_invalid_offset_is_none(offset: object) -> None:
    """Clients send offsets, so parsing never raises."""
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
def test_the_history_equals_a_naive_model(
    history: int, ttl: int, steps: list[tuple[str, Any]]
) -> None:
    """After any steps, each offset that was ever returned is answered in full, or not at all."""
    real, naive = History(history, ttl, MANY), Naive(history, ttl)
    returned: dict[str, list[tuple[Offset, tuple[int, int]]]] = {"a": [], "b": []}
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
            offset = real.append(emission_of(str(number), room), now)
            place = naive.publish(value, str(number), now)
        assert (offset is None) == (place is None)
        if offset is not None and place is not None:
            returned[value].append((offset, place))
        for name, offsets in returned.items():
            for since, theirs in offsets:
                past = real.read(Room("/ws", name), since, now)
                assert texts(past) == naive.read(name, theirs)
    # Equal offsets are equal positions, and entries are not kept longer than `ttl`.
    pairs = [pair for offsets in returned.values() for pair in offsets]
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(set(pairs))
    naive.expire(now + ttl)
    real.read(CHAT, None, now + ttl)
    assert real.size == 0
    assert len(real) == len(naive.rooms)


class Naive:
    """The same with lists only, and without bounds of size."""

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


def test_the_last_offset_is_always_complete() -> None:
    """After any time, and also if no emissions are kept."""
    for kept in (0, 100):
        history = History(kept, 300, MANY)
        history.subscribe(CHAT, 0)
        offset = history.append(emission_of("hi"), 1)
        assert offset is not None
        assert history.read(CHAT, offset, 10_000) == Past(offset, complete=True)


def test_a_forgotten_room_has_a_new_epoch() -> None:
    """Offsets of the old epoch are not complete in the new one."""
    history = History(100, 300, MANY)
    first = history.subscribe(CHAT, 0)
    history.unsubscribe(CHAT, 0)
    assert history.subscribe(CHAT, 299) == first
    history.unsubscribe(CHAT, 300)
    second = history.subscribe(CHAT, 600)
    assert second != first
    assert history.read(CHAT, first, 600) == Past(second, complete=False)


def test_a_read_returns_at_most_300_emissions() -> None:
    """301 are not complete, although they are kept."""
    history = History(1000, 300, MANY)
    first = history.subscribe(CHAT, 0)
    for number in range(300):
        history.append(emission_of(str(number)), 0)
    assert len(texts(history.read(CHAT, first, 0)) or ()) == 300
    history.append(emission_of("one more"), 0)
    assert texts(history.read(CHAT, first, 0)) is None


def test_a_room_keeps_at_most_a_mebibyte() -> None:
    """The oldest emissions are removed; one that is larger alone is not kept."""
    history = History(100, 300, MANY)
    first = history.subscribe(CHAT, 0)
    half = ROOM_BYTES // 2 - ENTRY_BYTES
    history.append(emission_of("x" * half), 0)
    second = history.append(emission_of("x" * half), 0)
    assert second is not None and history.size == ROOM_BYTES
    assert texts(history.read(CHAT, first, 0)) is not None
    third = history.append(emission_of("y"), 0)
    assert third is not None and texts(history.read(CHAT, first, 0)) is None
    assert texts(history.read(CHAT, second, 0)) == ["y"]
    history.append(emission_of("x" * ROOM_BYTES), 0)
    assert history.size == 0 and texts(history.read(CHAT, third, 0)) is None
    last = history.append(emission_of("z"), 0)
    assert last is not None and history.size == ENTRY_BYTES + 1


def test_all_rooms_together_have_a_limit() -> None:
    """Beyond it, the room with the oldest last emission loses its oldest emissions."""
    history = History(100, 300, 4 * (ENTRY_BYTES + 1))
    since = {room: history.subscribe(room, 0) for room in (CHAT, NEWS)}
    after = {room: history.append(emission_of("1", room), 0) for room in (CHAT, NEWS)}
    history.append(emission_of("2", NEWS), 1)
    history.append(emission_of("2", CHAT), 2)
    history.append(emission_of("3", CHAT), 3)
    assert history.size == 4 * (ENTRY_BYTES + 1)
    assert texts(history.read(NEWS, since[NEWS], 3)) is None
    assert texts(history.read(NEWS, after[NEWS], 3)) == ["2"]
    assert texts(history.read(CHAT, since[CHAT], 3)) == ["1", "2", "3"]
    for number in range(4, 10):
        history.append(emission_of(str(number), CHAT), 4)
    assert texts(history.read(NEWS, after[NEWS], 4)) is None
    assert history.size == 4 * (ENTRY_BYTES + 1)


def test_names_in_an_emission_count_as_bytes() -> None:
    """An emission to thousands of rooms takes more than its payload."""
    history = History(100, 300, MANY)
    history.subscribe(CHAT, 0)
    history.append(Emission(CHAT, b"x", tuple(map(str, range(1000))), except_rooms=("y",)), 0)
    assert history.size > 100_000


def test_rooms_without_members_are_bounded() -> None:
    """The one that has been empty for longest is forgotten; those with members are not counted."""
    history = History(100, 300, MANY, idle=2)
    rooms = [Room("/ws", str(number)) for number in range(5)]
    first = {room: history.subscribe(room, 0) for room in rooms}
    for room in rooms:
        history.append(emission_of("hi", room), 0)
    for room in rooms[:3]:
        history.unsubscribe(room, 1)
    history.append(emission_of("ho", rooms[1]), 2)
    history.unsubscribe(rooms[3], 3)
    assert len(history) == 3 and history.size == 4 * (ENTRY_BYTES + 2)
    kept = [texts(history.read(room, first[room], 3)) for room in rooms]
    assert kept == [None, ["hi", "ho"], None, ["hi"], ["hi"]]


def test_emissions_of_unknown_rooms_are_not_kept() -> None:
    """No client has an offset of such a room, so none can ask for them."""
    history = History(100, 300, MANY)
    assert history.append(emission_of("hi"), 0) is None
    history.unsubscribe(CHAT, 0)
    assert history.read(CHAT, Offset("1", 0), 0) == Past(None, complete=False)
    assert len(history) == history.size == 0


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
    """The constructor raises it, with the number in the message."""
    ((name, value),) = options.items()
    with pytest.raises(SetupError, match=f"{name} is {value!r}"):
        MemoryAdapter(**options)


async def test_two_adapters_never_share_an_offset() -> None:
    """Nor do adapters in forked processes: the prefix of the epochs is chosen at the start."""
    offsets = set()
    for _ in range(2):
        adapter = MemoryAdapter()
        await adapter.start(lambda emission, offset: None)
        offsets.add(await adapter.subscribe(CHAT))
    assert len(offsets) == 2
