"""The wire contract of docs/protocol.md: frames to values and back. No I/O and no asyncio here."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import orjson

from wsroom.errors import ProtocolError
from wsroom.limits import Limits
from wsroom.wire.offsets import Offset

JOIN = "joinRoom"
LEAVE = "leaveRoom"
RESUME = "resume"
CONNECTED = "connected"
REPLY = "reply"
ERROR = "error"
RESYNC = "resync"

RESERVED = frozenset({JOIN, LEAVE, RESUME, CONNECTED, REPLY, ERROR, RESYNC})
"""Event names that carry the protocol itself; an app neither handles nor emits them."""

SUBPROTOCOL = "wsroom.1"
RESUME_SUBPROTOCOL = "wsroom.1.resume"
"""The subprotocol of a client that begins with a `resume`."""
SOCKET_ID_PREFIX = "ws:"
MAX_PAYLOAD = 1024 * 1024
MAX_ID = 200
MAX_SESSION = 200

# C0, DEL and C1: they break logs and terminals, and no name needs them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Inbound:
    """A client's frame, checked. `id` is None where the client wants no answer."""

    # Made for each frame: a named tuple takes twice as long.
    __slots__ = ("event", "id", "message")

    def __init__(self, event: str, message: Any, id: str | int | None) -> None:
        self.event = event
        self.message = message
        self.id = id


def decode(text: str, limits: Limits, known: Container[str] = ()) -> Inbound:
    """Read a client's text frame; events in `known` have good names.

    Raises:
        ProtocolError: `too_large` or `bad_frame`, with a sentence for the client.

    """
    length = len(text)
    if length * 4 > limits.frame_size and not _fits(text, limits.frame_size):
        raise ProtocolError("too_large", f"a frame is {limits.frame_size} bytes at most")
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError("bad_frame", f"not JSON: {exc}") from None
    if type(frame) is not dict:
        raise ProtocolError("bad_frame", 'a frame is an object: {"event": ..., "message": ...}')
    id = frame.get("id")
    if id is not None:
        id = _read_id(id)
    event: Any = frame.get("event")
    # Only more openers than the cap can nest deeper than it, so most frames are never walked.
    depth = limits.depth
    if length > depth and text.count("[") + text.count("{") > depth and _deeper(frame, depth):
        raise ProtocolError("bad_frame", f"nested deeper than {limits.depth}", id)
    if type(event) is not str:
        raise ProtocolError("bad_frame", '"event" must be a string', id)
    if event not in known:
        problem = event_name_error(event, limits)
        if problem:
            raise ProtocolError("bad_frame", f'"event" {problem}', id)
    return Inbound(event, frame.get("message"), id)


def _read_id(value: Any) -> str | int:
    if type(value) is int:
        return value
    if type(value) is str and _fits(value, MAX_ID):
        return value
    raise ProtocolError(
        "bad_frame", f'"id" must be an integer or a string of {MAX_ID} bytes at most'
    )


def _fits(text: str, size: int) -> bool:
    # At most four bytes a character, so the count of characters usually decides.
    if len(text) * 4 <= size:
        return True
    return len(text) <= size and len(text.encode(errors="surrogatepass")) <= size


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    while level and depth:
        depth -= 1
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
    return bool(level)


def has_control_character(text: str) -> bool:
    """Whether there are control characters in it, which could forge a line of a log."""
    return _CONTROL.search(text) is not None


def event_name_error(event: str, limits: Limits | None) -> str | None:
    """Say why an event's name is invalid, as the end of a sentence; None if it is valid.

    Without `limits` it may have any length.
    """
    if not event:
        return "is empty"
    if limits is not None and len(event) > limits.event_name:
        return f"is longer than {limits.event_name} characters"
    if _CONTROL.search(event):
        return "has a control character"
    return None


def room_name_error(room: object, limits: Limits | None) -> str | None:
    """Say why a room's name is invalid, as the end of a sentence; None if it is valid.

    Without `limits` it may have any length.
    """
    if type(room) is not str:
        return "must be a string"
    if not room:
        return "is empty"
    try:
        size = len(room.encode())
    except UnicodeEncodeError:
        return "has half a surrogate pair"
    if limits is not None and size > limits.room_name:
        return f"is longer than {limits.room_name} bytes"
    if _CONTROL.search(room):
        return "has a control character"
    return None


def read_room(message: object, limits: Limits) -> str:
    """Read the room's name that a client sent with `joinRoom` or `leaveRoom`.

    Raises:
        ProtocolError: `bad_room`.

    """
    problem = room_name_error(message, limits)
    if problem:
        raise ProtocolError("bad_room", f"a room's name {problem}")
    room = str(message)
    if room.startswith(SOCKET_ID_PREFIX):
        raise ProtocolError("bad_room", "a socket's id is no room that can be joined")
    return room


def read_resume(message: object, limits: Limits) -> tuple[str, dict[str, str]]:
    """Read the session, "" where there is none, and the offsets by room of a `resume`.

    Raises:
        ProtocolError: `invalid_message`.

    """
    if type(message) is not dict:
        raise ProtocolError("invalid_message", 'it is an object: {"session": ..., "rooms": ...}')
    session, rooms = message.get("session"), message.get("rooms")
    if session is None:
        session = ""
    elif type(session) is not str or not session or not _fits(session, MAX_SESSION):
        raise ProtocolError(
            "invalid_message", f'"session" must be a string of 1 to {MAX_SESSION} bytes'
        )
    if type(rooms) is not dict or not all(type(offset) is str for offset in rooms.values()):
        raise ProtocolError("invalid_message", '"rooms" must be an object of offsets by room')
    most = limits.rooms_per_socket + 1  # the path
    if len(rooms) > most:
        raise ProtocolError("invalid_message", f'"rooms" has {len(rooms)} keys; {most} is the most')
    return session, rooms


def choose_subprotocol(offered: Collection[str]) -> str | None:
    """The subprotocol to answer with."""
    for name in (RESUME_SUBPROTOCOL, SUBPROTOCOL):
        if name in offered:
            return name
    return None


def encode(
    event: str,
    message: Any,
    sender: str | None = None,
    room: str | None = None,
    id: str | int | None = None,
) -> bytes:
    """Encode a server's frame; `id` is left out where it is None.

    Raises:
        TypeError: the message holds something that JSON has no form for.
        ValueError: it holds NaN or an infinity, or the payload is over 1 MiB.

    """
    frame = {"event": event, "message": message, "sender": sender, "room": room}
    if id is not None:
        frame["id"] = id
    nulls = (message is None) + (sender is None) + (room is None)
    return _dump(frame, nulls)


def encode_inbound(event: str, message: Any, id: int | None = None) -> bytes:
    """Encode a client's frame; raises what `encode` raises."""
    frame = {"event": event, "message": message}
    if id is not None:
        frame["id"] = id
    return _dump(frame, message is None)


def _dump(frame: dict[str, Any], nulls: int) -> bytes:
    event, message = frame["event"], frame["message"]
    try:
        payload = orjson.dumps(frame)
    except TypeError as exc:
        raise TypeError(f"the message of {event!r} is not JSON: {exc}") from exc.__cause__
    # orjson writes NaN and the infinities as null, so a payload without a null that nobody asked
    # for needs no look at its values.
    if payload.count(b"null") > nulls and _has_nan(message):
        raise ValueError(f"the message of {event!r} holds NaN or an infinity; JSON has no such")
    if not payload.isascii():
        payload.decode()  # an orjson.Fragment could hold anything
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(
            f"the payload of {event!r} is {len(payload)} bytes; {MAX_PAYLOAD} is the most"
        )
    return payload


def _has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_nan, value))
    if isinstance(value, Enum):
        return _has_nan(value.value)
    if hasattr(value, "__dict__"):  # orjson writes what a dataclass' instance holds
        return is_dataclass(value) and any(map(_has_nan, vars(value).values()))
    if is_dataclass(value):
        return any(_has_nan(getattr(value, field.name, None)) for field in fields(value))
    return False


def encode_reply(message: Any, id: str | int) -> bytes:
    """Encode the answer to a frame that had an `id`; raises what `encode` raises."""
    return encode(REPLY, message, id=id)


def encode_error(
    code: str, detail: str, event: str | None = None, id: str | int | None = None
) -> bytes:
    """Encode an `error` frame: a `code` for programs, a `detail` for people; never fails."""
    message = {"code": sanitize(code), "detail": sanitize(detail), "event": event}
    return encode(ERROR, message, id=id)


def encode_resync(room: str | None, offset: Offset | None) -> bytes:
    """Encode what says that messages of a room were lost; None is the path, or the socket."""
    position = None if offset is None else str(offset)
    return encode(RESYNC, {"room": room, "offset": position}, room=room)


def sanitize(text: str) -> str:
    """A sentence of the app's as it can be sent: 1,000 characters of valid Unicode at most."""
    return text[:1000].encode(errors="replace").decode()


def with_offset(payload: bytes, offset: Offset) -> bytes:
    """Add the `offset` that the adapter's history gave to a room's frame, without parsing it."""
    return payload[:-1] + f',"offset":"{offset.epoch}:{offset.seq}"}}'.encode()


Frame = dict[str, Any]


def read_offsets(frame: Frame, asked: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield the rooms whose offsets a frame gives; None for a room that the client has left.

    `asked` is the event of the client's frame that this one answers.
    """
    event, message, room = frame["event"], frame["message"], frame["room"] or ""
    if "offset" in frame:
        yield room, frame["offset"]
    elif event == CONNECTED or (event == REPLY and asked == RESUME):
        for name, told in message.get("rooms", {}).items():
            offset = told if event == CONNECTED else told.get("offset")
            if offset is not None:
                yield name, offset
    elif event == RESYNC and message["offset"] is not None:
        yield room, message["offset"]
    elif event == REPLY and asked == JOIN and "offset" in message:
        yield message["room"], message["offset"]
    elif event == REPLY and asked == LEAVE:
        yield message["room"], None
