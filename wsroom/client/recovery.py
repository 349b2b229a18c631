"""What a client keeps so that it can come back, and when it tries to. No I/O and no asyncio here.

docs/protocol.md says how ("Reconnecting"); tests/test_client.py shows it on real servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsroom.errors import RequestError
from wsroom.wire.protocol import (
    CONNECTED,
    JOIN,
    LEAVE,
    REPLY,
    RESUME,
    SOCKET_ID_PREFIX,
    Frame,
    read_offsets,
)

SHORTEST = 0.1
LONGEST = 20.0
STEADY = 5.0
"""Seconds of a connection after which the next loss counts as the first."""


def pause(tries: int, first: float, share: float) -> float:
    """Seconds to wait after so many failures in a row; `share` is random, 0 to 1 (full jitter)."""
    return max(SHORTEST, share * min(LONGEST, first * 2.0 ** min(tries, 30)))


def is_final(code: int) -> bool:
    """Whether trying again is pointless: the server would say the same."""
    return code == 1008 or 4400 <= code <= 4499


class Recovery:
    """The session and the rooms of a client, through all its connections."""

    def __init__(self) -> None:
        self.session = ""
        self.places: dict[str, str | None] = {}
        """Where each room stands, and the path (""); None where the server keeps no history."""
        self._leaving: set[str] = set()

    def resumption(self) -> dict[str, Any] | None:
        """The message of `resume`; None where there is nothing to come back to."""
        rooms = {room: offset for room, offset in self.places.items() if offset is not None}
        return {"session": self.session, "rooms": rooms} if self.session and rooms else None

    def without_history(self) -> list[str]:
        """The rooms that cannot be resumed: to be joined again, and reloaded."""
        return [room for room, offset in self.places.items() if offset is None]

    def forget_offsets(self) -> None:
        """Give up resuming: every room is one without history."""
        self.places = dict.fromkeys(self.places)

    def ended(self) -> None:
        """The connection is gone, and what was left on it is left."""
        self._leaving.clear()

    def left(self, room: str) -> None:
        """Be in this room no more, though messages of it are still on their way."""
        self.places.pop(room, None)
        self._leaving.add(room)

    def take(self, frame: Frame, asked: str = "") -> None:
        """Note where rooms stand by a frame that arrived; `asked` is the event that it answers."""
        event, message = frame["event"], frame["message"]
        if event == CONNECTED:
            self._greet(message)
        elif event == REPLY and asked == LEAVE:
            self._leaving.discard(message["room"])
        elif event == REPLY and asked == JOIN:
            self._leaving.discard(message["room"])
            self.places[message["room"]] = message.get("offset")
        elif event != REPLY or asked == RESUME:
            for room, offset in read_offsets(frame, asked):
                if room not in self._leaving and not room.startswith(SOCKET_ID_PREFIX):
                    self.places[room] = offset

    def _greet(self, message: dict[str, Any]) -> None:
        # The first session stays: what was kept back from its socket is kept back for ever.
        self.session = self.session or message["session"]
        for room, offset in message.get("rooms", {"": None}).items():
            if self.places.get(room) is None:
                self.places[room] = offset

    @staticmethod
    def holes(reply: dict[str, Any]) -> Iterator[str]:
        """The rooms, by the reply to `resume`, of which messages were lost; "" is the path."""
        for room, answer in reply["rooms"].items():
            if answer.get("recovered") is False:
                yield room


def read_error(message: dict[str, Any]) -> RequestError:
    """The exception for the message of an `error` frame."""
    return RequestError(message["code"], message["detail"], message.get("event"))
