"""Which sockets of this worker an emission is for. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from wsroom.delivery.membership import Rooms
from wsroom.delivery.writer import Writer
from wsroom.wire.emission import Emission, Room
from wsroom.wire.protocol import SOCKET_ID_PREFIX


class Recipients:
    """Selects the recipients of an emission among the members of this worker's rooms.

    Args:
        rooms: the rooms of this worker.
        members: the writers of all sockets of this worker, by id.

    """

    __slots__ = ("_members", "_rooms", "sessions")

    def __init__(self, rooms: Rooms[Writer], members: Mapping[str, Writer]) -> None:
        self._rooms = rooms
        self._members = members
        self.sessions: dict[str, set[str]] = {}
        """The ids of the sockets that resumed a session, by the hash of the session."""

    def add_session(self, id: str, session: str) -> None:
        """Exclude the socket `id` from emissions that exclude the session with this hash."""
        self.sessions.setdefault(session, set()).add(id)

    def remove_session(self, id: str, session: str) -> None:
        """Undo `add_session`."""
        ids = self.sessions[session]
        ids.discard(id)
        if not ids:
            del self.sessions[session]

    def of(self, emission: Emission) -> Set[Writer]:
        """Return the members of the emission's rooms, before exclusions; may be a live view."""
        path, name = emission.room
        if emission.rooms:
            return self._union(path, emission.rooms)
        if name.startswith(SOCKET_ID_PREFIX):
            return self._union(path, (name,))
        return self._rooms.members(emission.room)

    def exclude(self, recipients: Set[Writer], emission: Emission) -> Set[Writer]:
        """Return `recipients` without excluded rooms and sessions.

        The excluded socket itself stays in: the outbox skips it, which costs less than a new set.
        """
        if emission.except_rooms:
            recipients = recipients - self._union(emission.room.path, emission.except_rooms)
        if self.sessions and emission.except_session:
            # Usually only the sender has the session, and it is excluded by its id at no cost.
            ids = self.sessions.get(emission.except_session, set()) - {emission.except_socket}
            if ids:
                recipients = recipients - {self._members[id] for id in ids if id in self._members}
        return recipients

    def _union(self, path: str, names: Iterable[str]) -> Set[Writer]:
        union: set[Writer] = set()
        for name in names:
            if not name.startswith(SOCKET_ID_PREFIX):
                union |= self._rooms.members(Room(path, name))
            elif (member := self._members.get(name)) and member.path == path:
                union.add(member)
        return union
