"""A contract as an AsyncAPI 3.1.0 document. No I/O and no asyncio here.

The application of the document is the server: it receives what clients send. A path is a channel,
and the payload of a message is the whole frame of docs/protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from wsroom.schema import builtin_frames as builtin
from wsroom.schema.builtin_frames import SCHEMAS, client_frame, error_frame, server_frame
from wsroom.schema.contract import (
    ClientEvent,
    Contract,
    JsonSchema,
    PathContract,
    RoomContract,
    ServerEvent,
)
from wsroom.schema.draft_7 import to_draft_7
from wsroom.schema.json_schema import Definitions, accepts_null, share, target_of

VERSION = "3.1.0"

Json = dict[str, Any]


def document(contract: Contract, *, builtins: bool = True) -> Json:
    """Return the AsyncAPI document of a contract, as values of JSON, in the contract's order.

    Args:
        contract: what to describe; its `document` is merged into the result.
        builtins: whether the events of the protocol itself are in it, such as `joinRoom`.

    Raises:
        SetupError: a schema refers to something that it does not define, or is nested too deep.

    """
    contract, definitions = share(contract)
    channels, operations = Json(), Json()
    ids = Ids()
    for path in contract.paths:
        channel = _Channel(ids.of(path.path.strip("/") or "root"), path, definitions, builtins)
        channels[channel.id] = channel.written()
        operations |= channel.operations()
    base = {
        "asyncapi": VERSION,
        "info": {"title": "A wsroom app", "version": "0.1.0"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": {
                **{name: to_draft_7(schema) for name, schema in definitions.items()},
                **SCHEMAS,
            },
            "messages": {"error": builtin.ERROR_FRAME, **(builtin.MESSAGES if builtins else {})},
            "messageTraits": {"answered": ANSWERED},
            **({"operationTraits": {"builtin": builtin.TRAIT}} if builtins else {}),
        },
    }
    return merged(base, contract.document)


ANSWERED = {
    "correlationId": {
        "description": "A frame with an `id` is answered by one frame with the same `id`.",
        "location": "$message.payload#/id",
    }
}


class Ids:
    """Keys for names of users, in the characters that AsyncAPI allows; each is given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "other"
        key, number = base, 2
        while key in self._taken:
            key, number = f"{base}_{number}", number + 1
        self._taken.add(key)
        return key


class _Channel:
    """A path: the channel, its messages, and the operations on it."""

    def __init__(
        self, id: str, path: PathContract, definitions: Definitions, builtins: bool
    ) -> None:
        self.id = id
        self._path = path
        self._definitions = definitions
        self._builtins = builtins
        client, server = Ids(), Ids()
        self._client = [(client.of(each.event), each) for each in path.client]
        self._server = [(server.of(each.event), each) for each in path.server]

    # -- the channel -------------------------------------------------------------------------

    def written(self) -> Json:
        path = self._path
        websocket: Json = {"method": "GET", "bindingVersion": "0.1.0"}
        if path.query is not None:
            websocket["query"] = to_draft_7(path.query)
        channel: Json = {"address": path.path, "title": path.path}
        if path.doc:
            channel["description"] = path.doc
        if path.parameters:
            channel["parameters"] = {
                name: _parameter(schema) for name, schema in path.parameters.items()
            }
        channel["messages"] = dict(self._messages())
        channel["bindings"] = {"ws": websocket}
        if path.rooms:
            channel["x-rooms"] = [_room(each) for each in path.rooms]
        return channel

    def _messages(self) -> Iterator[tuple[str, Json]]:
        for key, event in self._client:
            yield f"client.{key}", self._request(event)
            yield f"reply.{key}", _reply(event)
            if event.raises:
                yield f"error.{key}", _error(event)
        for key, emitted in self._server:
            yield f"server.{key}", _emitted(emitted)
        yield "error", {"$ref": "#/components/messages/error"}
        if self._builtins:
            for name in builtin.MESSAGES:
                yield name, {"$ref": f"#/components/messages/{name}"}

    def _request(self, event: ClientEvent) -> Json:
        name = _const(event.event) if event.event != "*" else {"type": "string"}
        optional = accepts_null(event.message, self._definitions)
        frame = client_frame(name, _schema(event.message), () if optional else ("message",))
        message = _message(event.event, event.doc, frame)
        message["traits"] = [{"$ref": "#/components/messageTraits/answered"}]
        if examples := _examples(event.message, self._definitions):
            message["examples"] = [
                {"payload": {"event": event.event, "message": example}} for example in examples
            ]
        return message

    # -- the operations ----------------------------------------------------------------------

    def operations(self) -> Iterator[tuple[str, Json]]:
        for key, event in self._client:
            error = f"error.{key}" if event.raises else "error"
            operation = self._operation("receive", f"client.{key}", event.event, event.doc)
            operation["reply"] = self._answers(f"reply.{key}", error)
            yield f"{self.id}.receive.{key}", operation
        for key, emitted in self._server:
            operation = self._operation("send", f"server.{key}", emitted.event, emitted.doc)
            yield f"{self.id}.send.{key}", operation
        operation = self._operation("send", "error", "error", builtin.ERROR_FRAME["summary"])
        yield f"{self.id}.send.error", operation
        if self._builtins:
            yield from self._builtin_operations()

    def _builtin_operations(self) -> Iterator[tuple[str, Json]]:
        traits = [{"$ref": "#/components/operationTraits/builtin"}]
        for name, frame in builtin.CLIENT.items():
            operation = self._operation("receive", name, name, frame["summary"])
            operation["reply"] = self._answers(f"{name}.reply", "error")
            yield f"{self.id}.receive.{name}", {**operation, "traits": traits}
        for name, frame in builtin.SERVER.items():
            operation = self._operation("send", name, name, frame["summary"])
            yield f"{self.id}.send.{name}", {**operation, "traits": traits}

    def _operation(self, action: str, message: str, title: str, doc: str) -> Json:
        operation: Json = {
            "action": action,
            "title": title,
            "channel": {"$ref": f"#/channels/{self.id}"},
            "messages": self._references(message),
        }
        operation |= _summary(doc)
        if self._path.security:
            operation["security"] = [
                {"$ref": f"#/components/securitySchemes/{name}"} for name in self._path.security
            ]
        return operation

    def _answers(self, *messages: str) -> Json:
        # The reply comes on the same connection.
        return {
            "channel": {"$ref": f"#/channels/{self.id}"},
            "messages": self._references(*messages),
        }

    def _references(self, *messages: str) -> list[Json]:
        return [{"$ref": f"#/channels/{self.id}/messages/{name}"} for name in messages]


# -- messages ------------------------------------------------------------------------------------


def _message(name: str, doc: str, payload: Json) -> Json:
    return {"name": name, "title": name, **_summary(doc), "payload": payload}


def _summary(doc: str) -> Json:
    summary, _, rest = doc.strip().partition("\n")
    return {
        **({"summary": summary} if summary else {}),
        **({"description": rest.strip()} if rest.strip() else {}),
    }


def _reply(event: ClientEvent) -> Json:
    frame = server_frame(_const("reply"), _schema(event.reply), answer=True)
    return _message("reply", f"The reply to `{event.event}`.", frame)


def _emitted(event: ServerEvent) -> Json:
    frame = server_frame(_const(event.event), _schema(event.message))
    return _message(event.event, event.doc, frame)


def _error(event: ClientEvent) -> Json:
    codes = [{"const": code, "description": text} for code, text in event.raises.items()]
    code = {"anyOf": [*codes, {"$ref": "#/components/schemas/ErrorCode"}]}
    name = {"type": "string"} if event.event == "*" else _const(event.event)
    return error_frame(code, name, f"An error that answers `{event.event}`.")


def _const(value: str) -> Json:
    return {"type": "string", "const": value}


def _schema(schema: JsonSchema | None) -> JsonSchema:
    return {} if schema is None else to_draft_7(schema)


def _examples(schema: JsonSchema | None, definitions: Definitions) -> list[Any]:
    target = {} if schema is None else target_of(schema, definitions)
    examples = target.get("examples") if isinstance(target, dict) else None
    return examples if isinstance(examples, list) else []


def _parameter(schema: JsonSchema | None) -> Json:
    # A parameter has no schema since AsyncAPI 3: a sentence, and the values that strings can list.
    schema = schema if isinstance(schema, dict) else {"type": "string"}
    parameter: Json = {}
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if kind := schema.get("format") or schema.get("type"):
        parameter["description"] = schema.get("description") or f"Type: {kind}."
    if values:
        parameter["enum"] = [str(value) for value in values]
    return parameter


def _room(room: RoomContract) -> Json:
    parameters = {
        name: {"type": "string"} if schema is None else to_draft_7(schema)
        for name, schema in room.parameters.items()
    }
    parts = {"presence": room.presence, "state": room.state}
    return {
        "pattern": room.pattern,
        **({"description": room.doc} if room.doc else {}),
        **({"parameters": parameters} if parameters else {}),
        **{name: to_draft_7(schema) for name, schema in parts.items() if schema is not None},
    }


def merged(base: Json, more: Mapping[str, Any]) -> Json:
    """Return a document with the parts of another one; of two values the other's remains."""
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            value = merged(old, value)
        result[key] = value
    return result
