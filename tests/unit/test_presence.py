"""A worker's copy of a table, pages of cards, and signs of life."""

from __future__ import annotations

from typing import Any

import pytest

from wsroom.presence.cards import MAX_REPLY, page, read_card
from wsroom.presence.frames import changes
from wsroom.presence.liveness import ROUNDS, Liveness
from wsroom.presence.replica import Outcome, Replica
from wsroom.wire.encoding import to_json
from wsroom.wire.presence import Notice, PresenceAnswer, PresenceTable, member_key


def card(id: int | str, **values: object) -> dict[str, Any]:
    return {"id": id, **values}


def answer(epoch: str, position: int, *ids: int) -> PresenceAnswer:
    members = {member_key(id): card(id) for id in ids}
    return PresenceAnswer(epoch, position, None, PresenceTable(members, frozenset({"w"})))


def notice(epoch: str, position: int, id: int, *, left: bool = False) -> Notice:
    return Notice(epoch, position, {member_key(id): None if left else card(id)}, "w")


def replica(position: int = 1, *ids: int) -> Replica:
    made = Replica()
    made.begin(answer("a", position, *ids))
    return made


def test_a_replica_follows_changes_in_order() -> None:
    """Each once."""
    mine = replica(3, 1)
    assert mine.receive(notice("a", 4, 2)) is Outcome.FOLLOWS
    assert mine.receive(notice("a", 4, 2, left=True)) is Outcome.KNOWN
    assert mine.receive(notice("a", 5, 1, left=True)) is Outcome.FOLLOWS
    assert mine.cards == {"2": card(2)} and mine.position == 5
    assert mine.take_touched() == {"2": False, "1": True} and mine.take_touched() == {}


def test_a_gap_is_repaired_by_reading() -> None:
    """What comes while the table is read follows it; what the table has is not doubled."""
    mine = replica(1, 1)
    assert mine.receive(notice("a", 3, 3)) is Outcome.GAP
    assert mine.receive(notice("a", 4, 4)) is Outcome.GAP
    assert mine.load(answer("a", 3, 1, 2, 3)) is Outcome.FOLLOWS
    assert mine.cards.keys() == {"1", "2", "3", "4"}
    assert mine.position == 4
    assert mine.take_touched() == {"2": False, "3": False, "4": False}


def test_an_old_answer_is_ignored() -> None:
    """A table that was read before the changes that are known."""
    mine = replica(5, 1)
    assert mine.load(answer("a", 4, 1, 2)) is Outcome.KNOWN
    assert mine.cards.keys() == {"1"}


def test_a_lost_table_is_shown_with_the_new_one() -> None:
    """Until it is forgotten; members of the new table are then not affected."""
    mine = replica(5, 1, 2, 3)
    assert mine.receive(notice("b", 1, 4)) is Outcome.GAP
    assert mine.load(answer("b", 1, 4)) is Outcome.LOST
    assert mine.cards.keys() == {"1", "2", "3", "4"} and mine.shows_lost
    mine.receive(notice("b", 2, 1))
    mine.receive(notice("b", 3, 2))
    mine.receive(notice("b", 4, 2, left=True))
    mine.take_touched()
    mine.forget_lost()
    assert mine.cards.keys() == {"1", "4"} and mine.take_touched() == {"3": True}
    assert not mine.shows_lost


def test_a_table_may_begin_later() -> None:
    """A socket that is not shown sees its first member."""
    mine = Replica()
    mine.begin(PresenceAnswer("", 0, None, PresenceTable({}, frozenset())))
    assert mine.receive(notice("a", 1, 1)) is Outcome.FOLLOWS
    assert mine.cards.keys() == {"1"}


def test_a_frame_has_the_final_state() -> None:
    """Whether it is another one or not."""
    mine = replica(1, 1)
    mine.receive(notice("a", 2, 2))
    mine.receive(notice("a", 3, 2, left=True))
    mine.receive(notice("a", 4, 1, left=True))
    mine.receive(notice("a", 5, 1))
    assert changes("r", mine, 10) == (
        b'{"event":"presence","message":{"room":"r","count":1,"joined":[],"left":[2],'
        b'"changed":[{"id":1}]},"sender":null,"room":"r"}'
    )
    assert changes("r", mine, 10) is None
    mine.receive(notice("a", 6, 7))
    assert changes("r", mine, 1) == (
        b'{"event":"presence","message":{"room":"r","count":2},"sender":null,"room":"r"}'
    )


def test_pages_have_all_cards_once() -> None:
    """Each is as large as a reply may be."""
    cards = {member_key(n): card(n, text="x" * 900) for n in [*range(500), *map(str, range(500))]}
    found: list[Any] = []
    more, after = True, None
    while more:
        chosen, more = page(cards, after)
        assert sum(len(str(each)) for each in chosen) < MAX_REPLY * 1.1
        found += chosen
        after = member_key(found[-1]["id"])
    assert {member_key(each["id"]): each for each in found} == cards and len(found) == 1000


def test_a_card_is_read_as_json() -> None:
    """What JSON has no form for is refused."""
    present = read_card({"id": "é", "set": {1}}, to_json)
    assert present is not None and present == ('"é"', {"id": "é", "set": [1]})
    assert read_card(None, to_json) is None
    with pytest.raises(TypeError):
        read_card({"id": 1, "x": object()}, to_json)


def test_a_worker_is_dead_after_rounds_without_a_sign_of_life() -> None:
    """Failed rounds do not count, nor do those before it was seen."""
    seen = Liveness()
    seen.observe({"a": 5, "b": 7})
    for number in range(ROUNDS - 1):
        seen.observe({"a": 5, "b": 8 + number})
    assert not seen.dead("a")
    seen.interrupt()
    for number in range(ROUNDS):
        assert not seen.dead("a")
        seen.observe({"a": 5, "b": 20 + number})
    assert seen.dead("a") and not seen.dead("b") and not seen.dead("unknown")
    seen.observe({"a": 6, "b": 30})
    assert not seen.dead("a")


def test_a_worker_without_a_counter_is_dead_too() -> None:
    """It has stopped, or its counter was lost; and it is forgotten at last."""
    seen = Liveness()
    seen.expect("gone")
    for _ in range(ROUNDS):
        assert not seen.dead("gone")
        seen.observe({"b": 1})
    assert seen.dead("gone")
    for number in range(2 * ROUNDS):
        seen.observe({"b": number})
    assert not seen.dead("gone")
