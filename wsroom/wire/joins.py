"""Frames about the rooms of one socket: to values and back. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from wsroom.errors import ProtocolError
from wsroom.limits import Limits
from wsroom.wire.offsets import Offset
from wsroom.wire.presence import member_key
from wsroom.wire.protocol import JOINED, LEFT, encode, read_room


class JoinRequest(NamedTuple):
    """A client's `joinRoom`."""

    room: str
    last: int | None = None
    """How many of the room's last messages it asks for."""
    since: str | None = None
    """The offset since which it asks for messages, valid or not."""

    @property
    def asks_for_history(self) -> bool:
        """Whether it asks for messages that were emitted before."""
        return self.last is not None or self.since is not None


def join_message(room: str, last: int | None, since: str | None) -> Any:
    """Return the message of a client's `joinRoom`."""
    asked = {"room": room, "last": last, "since": since}
    if last is None and since is None:
        return room
    return {key: value for key, value in asked.items() if value is not None}


def read_join(message: object, limits: Limits) -> JoinRequest:
    """Read a client's `joinRoom`: the room's name, or an object with `room`, `last` and `since`.

    Raises:
        ProtocolError: `bad_room` or `invalid_message`.

    """
    if type(message) is not dict:
        return JoinRequest(read_room(message, limits))
    room = read_room(message.get("room"), limits)
    last, since = message.get("last"), message.get("since")
    if last is not None and (type(last) is not int or last < 0):
        raise ProtocolError("invalid_message", '"last" must be a number of messages')
    if since is not None and type(since) is not str:
        raise ProtocolError("invalid_message", '"since" must be an offset, which is a string')
    if last is not None and since is not None:
        raise ProtocolError("invalid_message", 'give "last" or "since", not both')
    return JoinRequest(room, last, since)


def room_answer(room: str, offset: Offset | None) -> dict[str, Any]:
    """Return the message of `joinedRoom`, which the reply to `joinRoom` has too."""
    return {"room": room} if offset is None else {"room": room, "offset": str(offset)}


def encode_joined(
    room: str, offset: Offset | None, members: Mapping[str, Any] = MappingProxyType({})
) -> bytes:
    """Encode a `joinedRoom` frame: the app has put the socket into the room.

    Args:
        room: the name of the room.
        offset: its offset; None without a history.
        members: what the frame says about its members.

    """
    return encode(JOINED, {**room_answer(room, offset), **members})


def read_members(message: object, limits: Limits) -> tuple[str, str | None]:
    """Read a client's `members`: the room, and the key of the member after which to continue.

    Raises:
        ProtocolError: `bad_room` or `invalid_message`.

    """
    if type(message) is not dict:
        return read_room(message, limits), None
    after = message.get("after")
    if after is not None and type(after) is not str and type(after) is not int:
        raise ProtocolError("invalid_message", '"after" must be the id of a member')
    return read_room(message.get("room"), limits), None if after is None else member_key(after)


def encode_left(room: str) -> bytes:
    """Encode a `leftRoom` frame: the app has taken the socket out of the room."""
    return encode(LEFT, {"room": room})
