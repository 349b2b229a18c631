"""What a client must know to resume, and when it connects again. No I/O and no asyncio here.

docs/protocol.md describes the frames ("Reconnecting").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsroom.client.members import HeldRooms
from wsroom.errors import RequestError
from wsroom.wire.protocol import (
    CONNECTED,
    JOIN,
    JOINED,
    LEAVE,
    LEFT,
    REPLY,
    RESUME,
    SOCKET_ID_PREFIX,
    Frame,
    read_offsets,
)

MIN_PAUSE = 0.1
MAX_PAUSE = 20.0


def backoff(tries: int, first: float, share: float) -> float:
    """Seconds to wait after `tries` failures in a row; `share` is random, 0 to 1 (full jitter)."""
    return max(MIN_PAUSE, share * min(MAX_PAUSE, first * 2.0 ** min(tries, 30)))


def is_final(code: int) -> bool:
    """Whether a client must not try again, because the server would refuse it again."""
    return code == 1008 or 4400 <= code <= 4499


class Recovery:
    """The session and the rooms of a client, kept from one connection to the next."""

    def __init__(self) -> None:
        self.session = ""
        self.offsets: dict[str, str | None] = {}
        """The last offset of each room, and of the path (""); None without a history."""
        self.held = HeldRooms()
        self._leaving: set[str] = set()
        self._late: set[str] = set()

    def resumption(self) -> dict[str, Any] | None:
        """Return the message of `resume`; None if there is nothing to resume."""
        rooms = {room: offset for room, offset in self.offsets.items() if offset is not None}
        return {"session": self.session, "rooms": rooms} if self.session and rooms else None

    def without_history(self) -> list[str]:
        """Return the rooms that cannot be resumed: the client joins and reloads them."""
        return [room for room, offset in self.offsets.items() if offset is None]

    def forget_offsets(self) -> None:
        """Treat every room as one without a history."""
        self.offsets = dict.fromkeys(self.offsets)

    def disconnected(self) -> None:
        """Forget which rooms were being left: the connection's end completed that."""
        self._leaving.clear()
        self._late.clear()

    def leave(self, room: str) -> None:
        """Forget a room, and ignore its messages until the server has confirmed."""
        self.offsets.pop(room, None)
        self._leaving.add(room)

    def ask_for_history(self, room: str) -> None:
        """Ignore the offsets of a room's messages until the answer, if the room is live already.

        The history is no place to continue from: later messages have arrived before it.
        """
        if room in self.offsets:
            self._late.add(room)

    def end_history(self, room: str) -> None:
        """Note that the answer has arrived, or that none is expected any more."""
        self._late.discard(room)

    def update(self, frame: Frame, asked: str = "") -> None:
        """Take what a frame has; `asked` is the event of the frame that it answers."""
        event, message = frame["event"], frame["message"]
        self.held.update(frame, asked)
        if event == CONNECTED:
            self._connected(message)
        elif event == LEFT or (event == REPLY and asked == LEAVE):
            self.offsets.pop(message["room"], None)
            if event == REPLY:
                self._leaving.discard(message["room"])
        elif event == REPLY and asked == JOIN:
            self._leaving.discard(message["room"])
            self.end_history(message["room"])
            self.offsets[message["room"]] = message.get("offset")
        elif event == JOINED:
            if message["room"] not in self._leaving:
                known = self.offsets.get(message["room"])
                self.offsets[message["room"]] = message.get("offset", known)
        elif event != REPLY or asked == RESUME:
            for room, offset in read_offsets(frame, asked):
                ignored = room in self._leaving or room in self._late
                if not ignored and not room.startswith(SOCKET_ID_PREFIX):
                    self.offsets[room] = offset

    def _connected(self, message: dict[str, Any]) -> None:
        # The first session stays: it is the one that emit_except_sender leaves out in the history.
        self.session = self.session or message["session"]
        for room, offset in message.get("rooms", {"": None}).items():
            if self.offsets.get(room) is None:
                self.offsets[room] = offset


def lost_rooms(reply: dict[str, Any]) -> Iterator[str]:
    """Yield the rooms of the reply to `resume` in which messages were lost; "" is the path."""
    for room, answer in reply["rooms"].items():
        if answer.get("recovered") is False:
            yield room


def read_error(message: dict[str, Any]) -> RequestError:
    """Make the exception for the message of an `error` frame."""
    return RequestError(
        message["code"], message["detail"], message.get("event"), message.get("data")
    )
