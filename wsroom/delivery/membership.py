"""Who is in which room. No I/O and no asyncio here: two maps that always agree."""

from __future__ import annotations

from collections.abc import Set
from typing import Generic, TypeVar

from wsroom.wire.emission import Room

M = TypeVar("M")


_EMPTY: frozenset[object] = frozenset()


class Rooms(Generic[M]):
    """Room to members and member to rooms. A room exists while it has a member."""

    def __init__(self) -> None:
        self._members: dict[Room, set[M]] = {}
        self._rooms: dict[M, tuple[Room, ...]] = {}  # a set takes three times as much

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: M, room: Room) -> bool:
        """Put `member` into `room`; True where it was not in it before."""
        mine = self.of(member)
        if room in mine:
            return False
        self._rooms[member] = (*mine, room)
        self._members.setdefault(room, set()).add(member)
        return True

    def leave(self, member: M, room: Room) -> bool:
        """Take `member` out of `room`; True where it was the last one in it."""
        mine = self.of(member)
        if room not in mine:
            return False
        self._rooms[member] = tuple([other for other in mine if other != room])
        if not self._rooms[member]:
            del self._rooms[member]
        return self._drop(member, room)

    def remove(self, member: M) -> list[Room]:
        """Take `member` out of all its rooms, in O(its rooms); return those it left empty."""
        return [room for room in self._rooms.pop(member, ()) if self._drop(member, room)]

    def _drop(self, member: M, room: Room) -> bool:
        members = self._members[room]
        members.remove(member)
        if members:
            return False
        del self._members[room]
        return True

    def clear(self) -> None:
        """Take all members out of all rooms."""
        self._members.clear()
        self._rooms.clear()

    def replace(self, old: M, new: M) -> None:
        """Put `new` into all the rooms of `old`, in its place."""
        mine = self._rooms.pop(old, None)
        if mine is None:
            return
        self._rooms[new] = mine
        for room in mine:
            members = self._members[room]
            members.remove(old)
            members.add(new)

    def members(self, room: Room) -> Set[M]:
        """The members of `room`: a live view, empty where the room does not exist."""
        return self._members.get(room, _EMPTY)  # type: ignore[arg-type]

    def of(self, member: M) -> tuple[Room, ...]:
        """The rooms of `member`, in the order in which it joined them."""
        return self._rooms.get(member, ())
