"""The wire protocol (docs/protocol.md): frames to values and back. No I/O and no asyncio here."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from typing import Any

import orjson

from wsroom.errors import ProtocolError
from wsroom.limits import Limits
from wsroom.wire.encoding import JsonDefault, dump, to_json
from wsroom.wire.frame_id import MAX_ID, find_id
from wsroom.wire.offsets import Offset

JOIN = "joinRoom"
LEAVE = "leaveRoom"
RESUME = "resume"
CONNECTED = "connected"
REPLY = "reply"
ERROR = "error"
RESYNC = "resync"
JOINED = "joinedRoom"
LEFT = "leftRoom"
PRESENCE = "presence"
MEMBERS = "members"

RESERVED = frozenset({JOIN, LEAVE, RESUME, CONNECTED, REPLY, ERROR, RESYNC, JOINED, LEFT})
"""Events of the protocol itself; an app must not handle or emit them."""
RESERVED_WITH_PRESENCE = frozenset({PRESENCE, MEMBERS})
"""Those that an app must not handle or emit on paths with presence."""

FROM_CLIENT = frozenset({JOIN, LEAVE, RESUME})
"""Those that clients send."""

SUBPROTOCOL = "wsroom.1"
RESUME_SUBPROTOCOL = "wsroom.1.resume"
"""The subprotocol of a client whose first frame is a `resume`."""
SOCKET_ID_PREFIX = "ws:"
MAX_SESSION = 200

# C0, DEL and C1: they break logs and terminals, and names do not need them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Inbound:
    """A valid frame of a client. `id` is None if the client does not want an answer."""

    # One is created for each frame; a named tuple takes twice as long.
    __slots__ = ("event", "id", "message")

    def __init__(self, event: str, message: Any, id: str | int | None) -> None:
        self.event = event
        self.message = message
        self.id = id


def decode(text: str, limits: Limits, known: Container[str] = ()) -> Inbound:
    """Read a client's text frame; the names of events in `known` are not checked again.

    Raises:
        ProtocolError: `too_large` or `bad_frame`, with a sentence for the client, and the frame's
            id if it has one that can be read.

    """
    length = len(text)
    if length * 4 > limits.frame_size and not _fits(text, limits.frame_size):
        id = find_id(text, may_be_json=True)
        raise ProtocolError("too_large", frame_size_error(limits.frame_size), id)
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        id = find_id(text, may_be_json=False)
        raise ProtocolError("bad_frame", f"the frame is not JSON: {exc}", id) from None
    if type(frame) is not dict:
        raise ProtocolError(
            "bad_frame", 'a frame must be an object: {"event": ..., "message": ...}'
        )
    id = frame.get("id")
    if id is not None:
        id = _read_id(id)
    event: Any = frame.get("event")
    # A frame with fewer brackets than the limit cannot be too deep, so most frames are not walked.
    depth = limits.depth
    if length > depth and text.count("[") + text.count("{") > depth and _is_deeper(frame, depth):
        raise ProtocolError(
            "bad_frame", f"the frame is nested deeper than {limits.depth} levels", id
        )
    if type(event) is not str:
        raise ProtocolError("bad_frame", '"event" must be a string', id)
    if event not in known:
        problem = event_name_error(event, limits)
        if problem:
            raise ProtocolError("bad_frame", f'"event" {problem}', id)
    return Inbound(event, frame.get("message"), id)


def frame_size_error(limit: int) -> str:
    """Return the sentence for a client's frame of more than `limit` bytes."""
    return f"a frame must have at most {limit} bytes"


def _read_id(value: Any) -> str | int:
    if type(value) is int:
        return value
    if type(value) is str and _fits(value, MAX_ID):
        return value
    raise ProtocolError(
        "bad_frame", f'"id" must be an integer or a string of at most {MAX_ID} bytes'
    )


def _fits(text: str, size: int) -> bool:
    # A character has at most four bytes, so the number of characters usually decides.
    if len(text) * 4 <= size:
        return True
    return len(text) <= size and len(text.encode(errors="surrogatepass")) <= size


def _is_deeper(value: Any, depth: int) -> bool:
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
    """Whether `text` contains a control character, which could forge a line of a log."""
    return _CONTROL.search(text) is not None


def event_name_error(event: str, limits: Limits | None) -> str | None:
    """Return why an event's name is invalid, as the end of a sentence; None if it is valid.

    Without `limits` a name can have any length.
    """
    if not event:
        return "is empty"
    if limits is not None and len(event) > limits.event_name:
        return f"is longer than {limits.event_name} characters"
    if _CONTROL.search(event):
        return "contains a control character"
    return None


def room_name_error(room: object, limits: Limits | None) -> str | None:
    """Return why a room's name is invalid, as the end of a sentence; None if it is valid.

    Without `limits` a name can have any length.
    """
    if type(room) is not str:
        return "must be a string"
    if not room:
        return "is empty"
    try:
        size = len(room.encode())
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    if limits is not None and size > limits.room_name:
        return f"is longer than {limits.room_name} bytes"
    if _CONTROL.search(room):
        return "contains a control character"
    return None


def read_room(message: object, limits: Limits) -> str:
    """Read the room's name in a client's `joinRoom` or `leaveRoom`.

    Raises:
        ProtocolError: `bad_room`.

    """
    problem = room_name_error(message, limits)
    if problem:
        raise ProtocolError("bad_room", f"a room's name {problem}")
    room = str(message)
    if room.startswith(SOCKET_ID_PREFIX):
        raise ProtocolError("bad_room", "a socket's id cannot be joined as a room")
    return room


def read_resume(message: object, limits: Limits) -> tuple[str, dict[str, str]]:
    """Read a `resume`: the session, "" if there is none, and the offsets by room.

    Raises:
        ProtocolError: `invalid_message`.

    """
    if type(message) is not dict:
        raise ProtocolError(
            "invalid_message", 'the message must be an object: {"session": ..., "rooms": ...}'
        )
    session, rooms = message.get("session"), message.get("rooms")
    if session is None:
        session = ""
    elif type(session) is not str or not session or not _fits(session, MAX_SESSION):
        raise ProtocolError(
            "invalid_message", f'"session" must be a string of 1 to {MAX_SESSION} bytes'
        )
    if type(rooms) is not dict or not all(type(offset) is str for offset in rooms.values()):
        raise ProtocolError("invalid_message", '"rooms" must be an object of offsets by room')
    limit = limits.rooms_per_socket + 1  # and the path
    if len(rooms) > limit:
        raise ProtocolError(
            "invalid_message", f'"rooms" has {len(rooms)} keys; at most {limit} are allowed'
        )
    return session, rooms


def choose_subprotocol(offered: Collection[str]) -> str | None:
    """Return the subprotocol to answer with; None if no known one is offered."""
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
    default: JsonDefault = to_json,
) -> bytes:
    """Encode a server's frame; `id` is left out if it is None.

    Raises:
        TypeError: the message contains a value that JSON cannot represent.
        ValueError: it contains NaN or an infinity, or the payload is over 1 MiB.

    """
    frame = {"event": event, "message": message, "sender": sender, "room": room}
    if id is not None:
        frame["id"] = id
    nulls = (message is None) + (sender is None) + (room is None)
    return dump(frame, nulls, default)


def encode_inbound(event: str, message: Any, id: int | None = None) -> bytes:
    """Encode a client's frame, its id first; raises what `encode` raises."""
    frame: dict[str, Any] = {} if id is None else {"id": id}
    return dump(frame | {"event": event, "message": message}, message is None, to_json)


def encode_reply(message: Any, id: str | int, default: JsonDefault = to_json) -> bytes:
    """Encode the answer to a frame that had an `id`; raises what `encode` raises."""
    return encode(REPLY, message, id=id, default=default)


def encode_error(
    code: str,
    detail: str,
    event: str | None = None,
    id: str | int | None = None,
    data: Any = None,
    default: JsonDefault = to_json,
) -> bytes:
    """Encode an `error` frame: `code` is for programs, `detail` for people.

    Without `data` it never raises; otherwise it raises what `encode` raises.
    """
    message = {"code": sanitize(code), "detail": sanitize(detail), "event": event}
    if data is not None:
        message["data"] = data
    return encode(ERROR, message, id=id, default=default)


def encode_resync(room: str | None, offset: Offset | None) -> bytes:
    """Encode a `resync` frame; without a room it is of the path, or of one socket."""
    position = None if offset is None else str(offset)
    return encode(RESYNC, {"room": room, "offset": position}, room=room)


def sanitize(text: str) -> str:
    """Make a text of the app valid Unicode of at most 1,000 characters."""
    return text[:1000].encode(errors="replace").decode()


def with_offset(payload: bytes, offset: Offset) -> bytes:
    """Add an `offset` to a payload, without parsing it."""
    return payload[:-1] + f',"offset":"{offset.epoch}:{offset.seq}"}}'.encode()


def replayed(payload: bytes, offset: Offset, time: int | None) -> bytes:
    """Add to a payload what a replayed frame has: its `offset`, and its `time` if it is known."""
    payload = with_offset(payload, offset)
    return payload if time is None else payload[:-1] + f',"time":{time}}}'.encode()


Frame = dict[str, Any]


def read_offsets(frame: Frame, asked: str = "") -> Iterator[tuple[str, str | None]]:
    """Yield the rooms and offsets in a server's frame; None for a room that the client has left.

    `asked` is the event of the client's frame that this one answers, if any.
    """
    event, message, room = frame["event"], frame["message"], frame["room"] or ""
    if "offset" in frame:
        yield room, frame["offset"]
    elif event == CONNECTED or (event == REPLY and asked == RESUME):
        for name, answer in message.get("rooms", {}).items():
            offset = answer if event == CONNECTED else answer.get("offset")
            if offset is not None:
                yield name, offset
    elif event == RESYNC and message["offset"] is not None:
        yield room, message["offset"]
    elif event == JOINED or (event == REPLY and asked == JOIN):
        if "offset" in message:
            yield message["room"], message["offset"]
    elif event == LEFT or (event == REPLY and asked == LEAVE):
        yield message["room"], None
