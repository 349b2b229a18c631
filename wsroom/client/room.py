"""Handles on rooms: parts of a program that do not know each other can share a room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from wsroom.client.listeners import Listeners
from wsroom.client.members import HeldRooms, Members
from wsroom.wire.protocol import MEMBERS


class RoomSocket(Protocol):
    """What rooms need of their socket."""

    async def request(self, event: str, message: Any = None) -> Any: ...
    async def join_room(self, room: str) -> dict[str, Any]: ...
    async def leave_room(self, room: str) -> None: ...


class ClientRooms:
    """The rooms that handles hold, each as long as the last of its handles."""

    def __init__(self, socket: RoomSocket, listeners: Listeners, held: HeldRooms) -> None:
        self.socket = socket
        self.listeners = listeners
        self.held = held
        self._handles: dict[str, int] = {}
        held.notify = self._notify
        held.ask = lambda room, after: listeners.notify(("hook", "members"), room, after)
        listeners.add(("hook", "members"), self._ask, 2)

    def hold(self, name: str) -> ClientRoom:
        """Return another handle on a room."""
        self._handles[name] = self._handles.get(name, 0) + 1
        return ClientRoom(name, self, self.held.rooms.setdefault(name, Members()))

    async def release(self, name: str) -> None:
        """Leave a room if this was the last handle on it."""
        self._handles[name] -= 1
        if not self._handles[name]:
            del self._handles[name], self.held.rooms[name]
            await self.socket.leave_room(name)

    def _notify(self, room: str) -> None:
        cards = list(self.held.rooms[room].cards.values())
        self.listeners.notify(("members", room), cards)

    async def _ask(self, room: str, after: Any) -> None:
        message = {"room": room} if after is None else {"room": room, "after": after}
        answer = await self.socket.request(MEMBERS, message)
        self.held.add(room, answer, more=after is not None)


class ClientRoom:
    """One part's hold on a room; `ClientSocket.room` makes it.

    The socket leaves the room with the last handle on it.
    """

    def __init__(self, name: str, rooms: ClientRooms, members: Members) -> None:
        self.name = name
        self._rooms = rooms
        self._members = members
        self._removes: list[Callable[[], None]] = []
        self._left = False

    @property
    def members(self) -> Mapping[Any, Mapping[str, Any]]:
        """In a room with presence: the cards, by the ids of the members.

        It is empty if there are too many to show, and stays as it was while there is no connection.
        """
        return MappingProxyType(self._members.cards)

    @property
    def count(self) -> int:
        """The number of members."""
        return self._members.count

    async def join(self) -> dict[str, Any]:
        """Join the room, and return once that is effective; raises what `join_room` raises.

        On return `members` has the members.
        """
        return await self._rooms.socket.join_room(self.name)

    def on(self, event: str, function: Callable[..., Any]) -> Callable[[], None]:
        """Call `function(message, sender, room, time)` for an event of this room only.

        Returns a function that removes the listener. `function` takes all four arguments.
        """

        def call(message: Any, sender: Any, room: Any, time: Any) -> Any:
            return function(message, sender, room, time) if room == self.name else None

        return self._until(self._rooms.listeners.add(("event", event), call, 4))

    def on_members(self, function: Callable[..., Any]) -> Callable[[], None]:
        """Call `(members)`, a list of all cards, after each change.

        Returns a function that removes the listener.
        """
        return self._until(self._rooms.listeners.add(("members", self.name), function, 1))

    async def leave(self) -> None:
        """Remove the listeners of this handle; leave the room if no other handle holds it.

        Leaving twice does nothing. Raises what `leave_room` raises.
        """
        if not self._left:
            self._left = True
            for remove in self._removes:
                remove()
            await self._rooms.release(self.name)

    def _until(self, remove: Callable[[], None]) -> Callable[[], None]:
        self._removes.append(remove)
        return remove
