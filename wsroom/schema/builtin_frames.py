"""The frames of the protocol itself, as docs/protocol.md has them. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from wsroom.schema.contract import JsonSchema
from wsroom.wire.frame_id import MAX_ID
from wsroom.wire.protocol import CONNECTED, ERROR, JOIN, JOINED, LEAVE, LEFT, REPLY, RESUME, RESYNC

Json = dict[str, Any]

STRING: Json = {"type": "string"}
NULL: Json = {"type": "null"}
TEXT_OR_NULL: Json = {"type": ["string", "null"]}
FRAME_ID: Json = {"$ref": "#/components/schemas/FrameId"}

SCHEMAS: dict[str, Json] = {
    "FrameId": {
        "title": "FrameId",
        "description": "Chosen by the client; the answer has the same.",
        "anyOf": [{"type": "string", "maxLength": MAX_ID}, {"type": "integer"}],
    },
    "ErrorCode": {
        "title": "ErrorCode",
        "description": "A code of the protocol.",
        "type": "string",
        "enum": [
            *("bad_frame", "bad_room", "forbidden", "internal", "invalid_message", "left"),
            *("rate_limited", "timeout", "too_large", "too_many_rooms", "unavailable"),
            "unknown_event",
        ],
    },
}
"""The schemas that every document has."""

TRAIT: Json = {
    "tags": [{"name": "built-in", "description": "Part of wsroom's protocol, on every path."}]
}


def _object(required: Collection[str] = (), /, **properties: JsonSchema) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _const(value: str) -> Json:
    return {"type": "string", "const": value}


def client_frame(
    event: JsonSchema, message: JsonSchema, required: Collection[str] = ("message",)
) -> Json:
    """Return the schema of a client's frame."""
    return _object(("event", *required), event=event, message=message, id=FRAME_ID)


def server_frame(event: JsonSchema, message: JsonSchema, *, answer: bool = False) -> Json:
    """Return the schema of a server's frame; an answer has an `id`, and no sender and no room."""
    required = ["event", "message", "sender", "room"]
    if answer:
        none = {"sender": NULL, "room": NULL, "id": FRAME_ID}
        return _object((*required, "id"), event=event, message=message, **none)
    return _object(
        required,
        event=event,
        message=message,
        sender={**TEXT_OR_NULL, "description": "The id of the emitting socket; null for the app."},
        room={**TEXT_OR_NULL, "description": "The room; null for the path or for this socket."},
        offset={**STRING, "description": "The position in the room, if a history is kept."},
        time={
            "type": "integer",
            "description": "If it is replayed: when it was emitted, in ms since the epoch.",
        },
    )


def error_message(code: JsonSchema, event: JsonSchema) -> Json:
    """Return the schema of an error's message."""
    return _object(
        ("code", "detail", "event"),
        code=code,
        detail={**STRING, "description": "A sentence for people."},
        event=event,
        data={"description": "What the app added to its error."},
    )


def _message(name: str, summary: str, payload: Json) -> Json:
    return {"name": name, "title": name, "summary": summary, "payload": payload}


def _client(name: str, summary: str, message: JsonSchema) -> Json:
    return {
        **_message(name, summary, client_frame(_const(name), message)),
        "traits": [{"$ref": "#/components/messageTraits/answered"}],
    }


def _server(name: str, summary: str, message: JsonSchema) -> Json:
    return _message(name, summary, server_frame(_const(name), message))


def _reply(name: str, message: JsonSchema) -> Json:
    frame = server_frame(_const(REPLY), message, answer=True)
    return _message(REPLY, f"The reply to `{name}`.", frame)


def error_frame(code: JsonSchema, event: JsonSchema, summary: str) -> Json:
    """Return the message of an `error` frame, which has an `id` if a frame with one failed."""
    frame = server_frame(_const(ERROR), error_message(code, event), answer=True)
    frame["required"].remove("id")
    return _message(ERROR, summary, frame)


ERROR_FRAME = error_frame(
    {**STRING, "description": "A code of the protocol, or one of the app's own."},
    TEXT_OR_NULL,
    "A client's frame, or the app's code that ran for it, failed.",
)

_ROOM_AND_OFFSET = {"room": STRING, "offset": STRING}
_MEMBERS: dict[str, Json] = {
    "members": {
        "type": "array",
        "items": {"type": "object"},
        "description": "The cards of the members, in a room with presence.",
    },
    "count": {"type": "integer", "description": "The number of members."},
    "more": {"type": "boolean", "description": "Whether the rest must be asked for."},
}
_JOINED = _object(
    ("room",),
    **_ROOM_AND_OFFSET,
    replayed={"type": "integer"},
    recovered={"type": "boolean"},
    **_MEMBERS,
)
_LAST = _object(("room", "last"), room=STRING, last={"type": "integer", "minimum": 0})
_SINCE = _object(("room", "since"), room=STRING, since=STRING)
_OFFSETS: Json = {"type": "object", "additionalProperties": STRING}
_RECOVERED = _object(
    ("recovered", "offset"), recovered={"type": "boolean"}, offset=STRING, **_MEMBERS
)

CLIENT: dict[str, Json] = {
    JOIN: _client(
        JOIN,
        "Join a room, and get its last messages if `last` or `since` asks for them.",
        {"anyOf": [STRING, _LAST, _SINCE]},
    ),
    LEAVE: _client(LEAVE, "Leave a room.", STRING),
    RESUME: _client(
        RESUME,
        "After a reconnect: join the rooms again, and get what was missed.",
        _object(("rooms",), session=STRING, rooms=_OFFSETS),
    ),
}
"""The messages of the protocol that clients send, by event."""

SERVER: dict[str, Json] = {
    CONNECTED: _server(
        CONNECTED,
        "The first frame of a connection.",
        _object(
            ("id", "session", "limits"),
            id=STRING,
            session=STRING,
            limits=_object(("frame",), frame={"type": "integer"}),
            rooms=_OFFSETS,
        ),
    ),
    JOINED: _server(JOINED, "The app has put the socket into a room.", _JOINED),
    LEFT: _server(
        LEFT, "The app has taken the socket out of a room.", _object(("room",), room=STRING)
    ),
    RESYNC: _server(
        RESYNC,
        "Messages of a room were lost, or of the path if it is null: load the state again.",
        _object(("room", "offset"), room=TEXT_OR_NULL, offset=TEXT_OR_NULL),
    ),
}
"""The messages of the protocol that the server sends, by event, except replies and errors."""

_RESUMED = _object(
    ("rooms",),
    rooms={
        "type": "object",
        "additionalProperties": {"anyOf": [_RECOVERED, _object(("error",), error=STRING)]},
    },
)

MESSAGES: dict[str, Json] = {
    **CLIENT,
    f"{JOIN}.reply": _reply(JOIN, _JOINED),
    f"{LEAVE}.reply": _reply(LEAVE, _object(("room",), room=STRING)),
    f"{RESUME}.reply": _reply(RESUME, _RESUMED),
    **SERVER,
}
"""All of them, and the replies, by their keys in the document."""
