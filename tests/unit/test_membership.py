"""The two maps of rooms, against a plain model."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wsroom.delivery.membership import Rooms
from wsroom.wire.emission import Room

MEMBERS = st.integers(0, 4)
ROOMS = st.sampled_from([Room("/ws", ""), Room("/ws", "a"), Room("/ws", "b"), Room("/t", "a")])


class RoomsAgainstModel(RuleBasedStateMachine):
    """Rooms behave like a set of pairs, and keep nothing once it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: Rooms[int] = Rooms()
        self.pairs: set[tuple[int, Room]] = set()

    @rule(member=MEMBERS, room=ROOMS)
    def join(self, member: int, room: Room) -> None:
        assert self.rooms.join(member, room) is ((member, room) not in self.pairs)
        self.pairs.add((member, room))

    @rule(member=MEMBERS, room=ROOMS)
    def leave(self, member: int, room: Room) -> None:
        was_in = (member, room) in self.pairs
        self.pairs.discard((member, room))
        last = was_in and all(other != room for _, other in self.pairs)
        assert self.rooms.leave(member, room) is last

    @invariant()
    def the_counts_are_right(self) -> None:
        named = [room for _, room in self.pairs if room.name]
        assert (self.rooms.named, self.rooms.memberships) == (len(set(named)), len(named))

    @rule(member=MEMBERS)
    def remove(self, member: int) -> None:
        mine = {room for other, room in self.pairs if other == member}
        self.pairs = {pair for pair in self.pairs if pair[0] != member}
        emptied = {room for room in mine if all(other != room for _, other in self.pairs)}
        assert set(self.rooms.remove(member)) == emptied

    @invariant()
    def agree(self) -> None:
        assert len(self.rooms) == len({room for _, room in self.pairs})
        for member in range(5):
            assert sorted(self.rooms.of(member)) == sorted(r for m, r in self.pairs if m == member)
        for room in {room for _, room in self.pairs}:
            assert self.rooms.members(room) == {m for m, r in self.pairs if r == room}
        assert len(self.rooms._rooms) == len({member for member, _ in self.pairs})


TestRooms = RoomsAgainstModel.TestCase


def test_a_room_that_does_not_exist_is_empty() -> None:
    """Reading a room that does not exist does not create it."""
    rooms: Rooms[int] = Rooms()
    assert not rooms.members(Room("/ws", "x")) and not rooms.of(1) and not rooms.remove(1)
    assert len(rooms) == 0
