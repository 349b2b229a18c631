"""Emissions that moderate: how they are made, sequenced and read."""

from __future__ import annotations

import pytest

from wsroom.wire.emission import Emission, Room
from wsroom.wire.moderation import (
    DISCONNECT,
    LEAVE,
    RECHECK,
    Chosen,
    Close,
    Leave,
    Recheck,
    disconnect_emission,
    leave_emissions,
    read_order,
    recheck_emission,
)

USER = Chosen("/ws", ("user:7",), ("staff",))


def test_a_leave_is_in_two_sequences() -> None:
    """That of the room that is left, and the path's; both say the same."""
    emissions = leave_emissions(USER, "board")
    assert [each.sequence for each in emissions] == [Room("/ws", "board"), Room("/ws", "")]
    first, second = map(read_order, emissions)
    assert isinstance(first, Leave) and first == second and first.room == "board"
    for each in emissions:
        assert (each.rooms, each.except_rooms, each.kind) == (("user:7",), ("staff",), LEAVE)
    assert read_order(leave_emissions(USER, "board")[0]) != first


@pytest.mark.parametrize(
    ("rooms", "sequence"),
    [
        ((), Room("/ws", "")),
        (("a",), Room("/ws", "a")),
        (("a", "b"), Room("/ws", "")),
        (("ws:1.2",), Room("", "ws:1")),
    ],
)
def test_the_others_are_in_the_sequence_of_an_emit(rooms: tuple[str, ...], sequence: Room) -> None:
    """To the same rooms."""
    chosen = Chosen("/ws", rooms, ())
    closing = disconnect_emission(chosen, 4403, "banned")
    assert closing.sequence == sequence and read_order(closing) == Close(4403, "banned")
    asking = recheck_emission(chosen, ("x", "y"))
    assert asking.sequence == sequence and read_order(asking) == Recheck(frozenset("xy"))
    assert closing.rooms == asking.rooms == rooms


def test_what_must_not_be_sent_is_refused() -> None:
    """A socket's id as the room to leave, and codes and reasons that no close frame may have."""
    with pytest.raises(ValueError, match="use disconnect"):
        leave_emissions(USER, "ws:1.2")
    with pytest.raises(ValueError, match="close code"):
        disconnect_emission(USER, 1006, "")


@pytest.mark.parametrize("kind", [LEAVE, DISCONNECT, RECHECK])
@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"{}", b'{"code":"x","reason":1}', b'{"code":1000,"reason":1}',
     b'{"code":1006,"reason":""}', b'{"room":"board"}', b'{"rooms":null}'],
)  # fmt: skip
def test_what_is_not_from_wsroom_is_a_value_error(kind: str, payload: bytes) -> None:
    """Whatever another program has published."""
    with pytest.raises(ValueError):
        read_order(Emission(Room("/ws", ""), payload, kind=kind))
