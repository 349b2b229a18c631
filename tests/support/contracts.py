"""Contracts with all kinds of schemas, for what is written from them."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic refuses that of Python 3.11

from tests.support.pages import load_example
from wsroom.describe import contract_of
from wsroom.schema.contract import (
    ClientEvent,
    Contract,
    JsonSchema,
    PathContract,
    RoomContract,
    ServerEvent,
)


def sent(kind: Any) -> JsonSchema:
    """The schema of what a client sends, by pydantic."""
    return TypeAdapter(kind).json_schema()


def received(kind: Any) -> JsonSchema:
    """The schema of what the app sends, by pydantic."""
    return TypeAdapter(kind).json_schema(mode="serialization")


def struct(kind: Any) -> JsonSchema:
    """The schema of a type, by msgspec."""
    return msgspec.json.schema(kind)


def messages(schemas: Mapping[str, JsonSchema], path: str = "/ws") -> Contract:
    """A contract with an event for each schema, which the app also emits."""
    return Contract(
        paths=(
            PathContract(
                path=path,
                client=tuple(ClientEvent(event=n, message=s) for n, s in schemas.items()),
                server=tuple(ServerEvent(event=n, message=s) for n, s in schemas.items()),
            ),
        )
    )


# -- pydantic ------------------------------------------------------------------------------------

Item = TypeVar("Item")


class Colour(enum.Enum):
    """Of a piece."""

    WHITE = "white"
    BLACK = "black"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"  # not required, but a discriminated union needs it
    barks: bool


class Node(BaseModel):
    name: str
    children: list[Node] = []
    parent: Node | None = None


class Box(BaseModel, Generic[Item]):
    content: Item
    label: str | None = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int
    b: str | None = None


class Aliased(BaseModel):
    from_: str = Field(alias="from", description="Who says it. */ It cannot end the comment.")
    kebab: int = Field(alias="kebab-case", default=3, deprecated=True)


class Typed(TypedDict):
    x: float
    y: NotRequired[float]


@dataclass
class Point:
    x: int
    y: int = 0


class Empty(BaseModel):
    """Nothing is in it."""


class Everything(BaseModel):
    """All in one.

    With a second paragraph.
    """

    pair: tuple[int, str]
    row: tuple[int, ...]
    names: list[str] = Field(min_length=1, max_length=5)
    unique: set[int] = set()
    scores: dict[str, float]
    nested: dict[str, list[dict[str, bool]]] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: int | str | None = None
    colour: Colour = Colour.WHITE
    level: Literal[1, 2, True, "high", None] = 1
    node: Node | None = None
    box: Box[int]
    pairs: list[tuple[Colour, int]] = []
    at: datetime | None = None
    id: UUID | None = None
    price: Decimal | None = None
    anything: Any = None
    thing: object = None
    raw: dict[str, Any] = {}


PYDANTIC = {
    "everything": sent(Everything),
    "node": sent(Node),
    "pet": sent(Annotated[Cat | Dog, Field(discriminator="kind")]),
    "pets": sent(dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]]),
    "boxes": sent(list[Box[str] | Box[Node]]),
    "strict": sent(Strict),
    "open": sent(Open),
    "aliased": sent(Aliased),
    "typed": sent(Typed),
    "point": sent(Point),
    "empty": sent(Empty),
    "numbers": sent(list[int]),
    "pair": sent(tuple[int, str]),
    "rows": sent(list[tuple[str, float | None]]),
    "text": sent(str),
    "nothing": sent(None),
    "level": sent(Literal["low", "high", 3]),
    "table": sent(dict[str, dict[str, int]]),
    "tagged": sent(Annotated[int, Field(title="Age", ge=0)]),
    "either": sent(Cat | Strict | list[Strict] | None),
    "pattern": sent(dict[Annotated[str, Field(pattern="^[a-z]+$")], int]),
    "colour": sent(Colour),
}

# -- msgspec -------------------------------------------------------------------------------------


class Get(msgspec.Struct, tag="get"):
    key: str


class Put(msgspec.Struct, tag="put", forbid_unknown_fields=True):
    key: str
    value: int | str | None = None


class Tree(msgspec.Struct, rename="camel"):
    left_side: Tree | None = None
    right_side: Tree | None = None


class Row(msgspec.Struct, array_like=True):
    id: int
    name: str
    tags: list[str] = []


MSGSPEC = {
    "command": struct(Get | Put),
    "commands": struct(list[Get | Put]),
    "tree": struct(Tree),
    "row": struct(Row),
    "table": struct(dict[str, Row]),
    "pair": struct(tuple[int, str]),
    "row_of": struct(tuple[int, ...]),
    "level": struct(Literal[1, 2, "three"]),
    "colour": struct(Colour),
    "maybe": struct(int | None),
    "bounded": struct(Annotated[list[int], msgspec.Meta(min_length=1, title="Some numbers")]),
}

# -- strange schemas -----------------------------------------------------------------------------

STRANGE: dict[str, JsonSchema] = {
    "true": True,
    "false": False,
    "empty": {},
    "not": {"not": {"type": "string"}},
    "not_anything": {"not": {}},
    "if": {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "size": {"type": "integer"}},
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["size"]},
        "else": {"properties": {"size": False}},
    },
    "false_property": {"type": "object", "properties": {"old": False, "new": {"type": "string"}}},
    "sibling": {
        "$ref": "#/$defs/Base",
        "description": "Beside a reference.",
        "required": ["b"],
        "$defs": {
            "Base": {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
            }
        },
    },
    "all": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "one_or_other": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "itself": {"$ref": "#", "title": "Itself"},
    "in_a_circle": {
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "string"}]},
            "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "integer"}]},
        },
    },
    "from_the_root": {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "copy": {"$ref": "#/properties/value"}}
        | {"value": {"type": "array", "items": {"type": "boolean"}}},
    },
    "a_property_called_ref": {
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "__proto__": {"type": "null"}},
    },
    "old_tuple": {
        "type": "array",
        "items": [{"type": "string"}, {"type": "integer"}],
        "additionalItems": False,
    },
    "optional_tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": {"type": "boolean"},
        "minItems": 1,
    },
    "kinds": {"type": ["string", "array", "null"], "items": {"type": "integer"}},
    "no_values": {"enum": []},
    "constants": {"enum": [{"a": [1, None]}, [], {}, "x\u2028*/", -1.5]},
    "wrong_constant": {"type": "string", "const": 5},
    "unknown_kind": {"type": "decimal128"},
    "untyped_object": {"properties": {"a": {"type": "string"}}},
    "required_only": {"type": "object", "required": ["a"]},
    "mixed": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["id"],
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
        "patternProperties": {"^x-": {"type": "boolean"}},
    },
    "dependent": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "dependentRequired": {"a": ["b"]},
        "unevaluatedProperties": False,
        "propertyNames": {"maxLength": 5},
    },
    "cannot_be_told_apart": {
        "oneOf": [
            {"title": "A", "type": "object", "properties": {"x": {"type": "integer"}}},
            {"title": "B", "type": "object", "properties": {"x": {"type": "integer"}}},
        ]
    },
}

# -- names ---------------------------------------------------------------------------------------


def _local(number: int) -> JsonSchema:
    class Card(BaseModel):
        id: int = number

    return sent(Card)


def _twin() -> type[BaseModel]:
    class Cat(BaseModel):
        whiskers: int

    return Cat


TWINS: dict[str, JsonSchema] = {
    "first": _local(1),
    "same": _local(1),
    "second": _local(2),
    "both": sent(Cat | _twin()),
    "struct": struct(Get),
    "reserved": {"title": "Paths", "type": "object", "properties": {"a": {"type": "string"}}},
    "keyword": {"title": "class", "type": "object", "properties": {"b": {"type": "string"}}},
    "no_letters": {"title": "名前", "type": "object", "properties": {"c": {"type": "string"}}},
    "digits": {"title": "3 D", "type": "object", "properties": {"d": {"type": "string"}}},
}

ODD_NAMES = Contract(
    paths=(
        PathContract(
            path="/t/{tenant}/{id}",
            doc='One tenant. */ """ \\',
            parameters={"tenant": None, "id": {"type": "string", "format": "uuid"}},
            query={"type": "object", "properties": {"token": {"type": "string"}}},
            security=("token",),
            client=(
                ClientEvent(event="a b", doc="With a space."),
                ClientEvent(event="a_b", doc="First line.\n\nMore.\n  */"),
                ClientEvent(event="ü/💬", message=sent(Cat), reply=received(Node)),
                ClientEvent(event="class", message={"type": "null"}),
                ClientEvent(event='quo"te\\', raises={"muted": "Not now.", "it's": ""}),
                ClientEvent(event="*"),
            ),
            server=(ServerEvent(event="a b"), ServerEvent(event="a.b", message=sent(Cat))),
            rooms=(
                RoomContract(pattern="*"),
                RoomContract(
                    pattern="board:{id}",
                    doc="A board.",
                    parameters={"id": {"type": "integer"}},
                    presence=received(Point),
                    state=received(Node),
                ),
            ),
        ),
        PathContract(path="/t_tenant_id"),
        PathContract(path="/"),
    ),
    document={
        "info": {"title": "Odd", "version": "2.0.0"},
        "servers": {"production": {"host": "odd.example", "protocol": "wss"}},
        "components": {
            "securitySchemes": {"token": {"type": "httpApiKey", "in": "query", "name": "token"}}
        },
    },
)


@functools.cache
def board() -> Contract:
    """The contract of examples/board."""
    return contract_of(load_example("board"))


THOUSAND = 1000


def thousand() -> Contract:
    """A thousand events, each with a model of its own."""

    def event(number: int) -> JsonSchema:
        properties = {f"field{n}": {"type": "string"} for n in range(number % 7)}
        card = {"title": "Card", "type": "object", "properties": {"n": {"const": number % 50}}}
        return {
            "title": f"Event{number}",
            "type": "object",
            "properties": properties | {"card": {"$ref": "#/$defs/app__models__Card"}},
            "$defs": {"app__models__Card": card},
        }

    return messages({f"event{number}": event(number) for number in range(THOUSAND)})


CONTRACTS = {
    "empty": Contract(),
    "pydantic": messages(PYDANTIC),
    "msgspec": messages(MSGSPEC),
    "strange": messages(STRANGE),
    "twins": messages(TWINS),
    "odd names": ODD_NAMES,
}
