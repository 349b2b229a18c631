"""The members of rooms with presence, as the server's frames say. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsroom.wire.protocol import JOIN, JOINED, LEFT, PRESENCE, REPLY, RESUME, Frame

Notify = Callable[[str], None]
Ask = Callable[[str, Any], None]


class Members:
    """The members of one room."""

    def __init__(self) -> None:
        self.cards: dict[Any, dict[str, Any]] = {}
        """The cards, by the ids of the members."""
        self.count = 0
        self._partial = True  # whether members may be missing

    def take(self, answer: dict[str, Any], *, more: bool = False) -> Any:
        """Take over what a reply has; return the id after which more must be asked for, or None.

        With `more` the answer continues the one before it.
        """
        if not more:
            self.cards = {}
        members = answer.get("members")
        self._partial = members is None
        self.count = answer.get("count", 0)
        self.cards |= {card["id"]: card for card in members or ()}
        return members[-1]["id"] if members and answer.get("more") else None

    def change(self, message: dict[str, Any]) -> bool:
        """Apply a `presence` frame; return whether all members must be asked for."""
        self.count = message["count"]
        if "joined" not in message:
            self._partial = True  # too many are shown no more
            self.cards = {}
        elif self._partial:
            return True
        else:
            cards = message["joined"] + message["changed"]
            self.cards |= {card["id"]: card for card in cards}
            for id in message["left"]:
                self.cards.pop(id, None)
        return False


class HeldRooms:
    """The rooms that handles hold, and their members."""

    def __init__(self) -> None:
        self.rooms: dict[str, Members] = {}
        self.notify: Notify | None = None
        """Called with a room whose members have changed."""
        self.ask: Ask | None = None
        """Called with a room, and the id after which members are missing; None for all."""

    def update(self, frame: Frame, asked: str) -> None:
        """Take the members in a frame; `asked` is the event of the frame that it answers."""
        event, message = frame["event"], frame["message"]
        if event == JOINED or (event == REPLY and asked == JOIN):
            self._take(message["room"], message)
        elif event == REPLY and asked == RESUME:
            for room, answer in message["rooms"].items():
                self._take(room, answer)
        elif event == LEFT:
            self._take(message["room"], {"count": 0})
        elif event == PRESENCE and type(message) is dict and message.get("room") in self.rooms:
            room = message["room"]
            if self.rooms[room].change(message):
                self._ask(room, None)
            else:
                self._notify(room)

    def _take(self, room: str, answer: dict[str, Any]) -> None:
        if room in self.rooms and "count" in answer:
            self.add(room, answer, more=False)

    def add(self, room: str, answer: dict[str, Any], *, more: bool) -> None:
        """Take over an answer to `members`, or what another reply has."""
        if room in self.rooms:
            after = self.rooms[room].take(answer, more=more)
            self._notify(room)
            if after is not None:
                self._ask(room, after)

    def _notify(self, room: str) -> None:
        if self.notify is not None:
            self.notify(room)

    def _ask(self, room: str, after: Any) -> None:
        if self.ask is not None:
            self.ask(room, after)
