"""What an app and its clients say to each other, as plain values. No I/O and no asyncio here.

`wsroom.describe` fills them; `asyncapi`, `typescript` and `python_types` write them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

JsonSchema = dict[str, Any] | bool
"""A JSON Schema of the draft 2020-12, with its definitions in `$defs`."""

Names = Mapping[str, JsonSchema | None]
"""Parameters by name, with their schemas; None for any string."""


@dataclass(frozen=True, kw_only=True)
class ClientEvent:
    """An event that clients send. Its schemas are None if the app does not declare them."""

    event: str
    """The name; "*" for every event without a handler."""
    doc: str = ""
    message: JsonSchema | None = None
    reply: JsonSchema | None = None
    raises: Mapping[str, str] = field(default_factory=dict)
    """The codes of the errors that the app answers, and a sentence for each."""


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """An event that the app emits."""

    event: str
    doc: str = ""
    message: JsonSchema | None = None


@dataclass(frozen=True, kw_only=True)
class RoomContract:
    """The rooms of a pattern, such as "board:{id}"."""

    pattern: str
    doc: str = ""
    parameters: Names = field(default_factory=dict)
    presence: JsonSchema | None = None
    """What the members see of each other; None without presence."""
    state: JsonSchema | None = None
    """What a client gets when it joins; None without a snapshot."""


@dataclass(frozen=True, kw_only=True)
class PathContract:
    """A path of WebSockets, and all that is sent on it."""

    path: str
    """The path, or a pattern like "/t/{tenant}"."""
    doc: str = ""
    parameters: Names = field(default_factory=dict)
    query: JsonSchema | None = None
    """The parameters of the URL's query, as an object."""
    security: tuple[str, ...] = ()
    """Names of security schemes, which `Contract.document` defines."""
    rooms: tuple[RoomContract, ...] = ()
    client: tuple[ClientEvent, ...] = ()
    server: tuple[ServerEvent, ...] = ()
    """Empty if the app does not declare what it emits."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """An app, as its clients see it."""

    paths: tuple[PathContract, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the AsyncAPI document that the app gives itself: `info`, `servers`, ..."""


Change = Callable[[JsonSchema, str], JsonSchema]
"""Returns another schema for one, of which the second argument says where it is."""


def map_schemas(contract: Contract, change: Change) -> Contract:
    """Return a contract whose schemas are changed; None stays None."""
    return replace(contract, paths=tuple(_map_path(path, change) for path in contract.paths))


def _map_path(path: PathContract, change: Change) -> PathContract:
    def at(schema: JsonSchema | None, where: str) -> JsonSchema | None:
        return None if schema is None else change(schema, f"{where} on {path.path!r}")

    def parameters(names: Names, where: str) -> Names:
        return {name: at(schema, f"parameter {name!r}{where}") for name, schema in names.items()}

    def room(room: RoomContract) -> RoomContract:
        return replace(
            room,
            parameters=parameters(room.parameters, f" of room {room.pattern!r}"),
            presence=at(room.presence, f"the presence of room {room.pattern!r}"),
            state=at(room.state, f"the state of room {room.pattern!r}"),
        )

    return replace(
        path,
        parameters=parameters(path.parameters, ""),
        query=at(path.query, "the query"),
        client=tuple(
            replace(
                each,
                message=at(each.message, f"the message of event {each.event!r}"),
                reply=at(each.reply, f"the reply to event {each.event!r}"),
            )
            for each in path.client
        ),
        server=tuple(
            replace(each, message=at(each.message, f"the message of emitted event {each.event!r}"))
            for each in path.server
        ),
        rooms=tuple(room(each) for each in path.rooms),
    )
