"""The members of rooms, in two maps that always agree. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Set
from typing import Generic, TypeVar

from wsroom.wire.emission import Room

M = TypeVar("M")


_EMPTY: frozenset[object] = frozenset()


class Rooms(Generic[M]):
    """Maps rooms to members and members to rooms. A room exists while it has members."""

    def __init__(self) -> None:
        self.named = 0
        """Rooms with a name: without the paths themselves."""
        self.memberships = 0
        """Members of these rooms, each counted once for each of its rooms."""
        self._members: dict[Room, set[M]] = {}
        self._rooms: dict[M, tuple[Room, ...]] = {}  # a set takes three times as much

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: M, room: Room) -> bool:
        """Put `member` into `room`; returns False if it was in it already."""
        mine = self.of(member)
        if room in mine:
            return False
        self._rooms[member] = (*mine, room)
        members = self._members.setdefault(room, set())
        if room.name:
            self.named += not members
            self.memberships += 1
        members.add(member)
        return True

    def leave(self, member: M, room: Room) -> bool:
        """Take `member` out of `room`; returns True if it was the last member."""
        mine = self.of(member)
        if room not in mine:
            return False
        self._rooms[member] = tuple([other for other in mine if other != room])
        if not self._rooms[member]:
            del self._rooms[member]
        return self._drop(member, room)

    def remove(self, member: M) -> list[Room]:
        """Take `member` out of all its rooms, in O(its rooms); returns those that are now empty."""
        return [room for room in self._rooms.pop(member, ()) if self._drop(member, room)]

    def _drop(self, member: M, room: Room) -> bool:
        members = self._members[room]
        members.remove(member)
        if room.name:
            self.named -= not members
            self.memberships -= 1
        if members:
            return False
        del self._members[room]
        return True

    def clear(self) -> None:
        """Take all members out of all rooms."""
        self._members.clear()
        self._rooms.clear()
        self.named = self.memberships = 0

    def replace(self, old: M, new: M) -> None:
        """Replace `old` by `new` in all its rooms."""
        mine = self._rooms.pop(old, None)
        if mine is None:
            return
        self._rooms[new] = mine
        for room in mine:
            members = self._members[room]
            members.remove(old)
            members.add(new)

    def members(self, room: Room) -> Set[M]:
        """Return the members of `room`: a live view, empty if the room does not exist."""
        return self._members.get(room, _EMPTY)  # type: ignore[arg-type]

    def of(self, member: M) -> tuple[Room, ...]:
        """Return the rooms of `member`, in the order in which it joined them."""
        return self._rooms.get(member, ())
