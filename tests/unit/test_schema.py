"""Which types are checked by what, what fits them, and their JSON schemas."""

from __future__ import annotations

import enum
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions
from pydantic import BaseModel, ConfigDict, Field

from wsroom import SetupError
from wsroom.schema.msgspec_schema import MsgspecSchema
from wsroom.schema.plain import PlainSchema
from wsroom.schema.problems import InvalidMessage
from wsroom.schema.pydantic_schema import PydanticSchema
from wsroom.schema.schema import Mode, Schema
from wsroom.schema.selection import schema_of

RoomName = NewType("RoomName", str)
Names = typing_extensions.TypeAliasType("Names", list[RoomName])
Json = typing_extensions.TypeAliasType(
    "Json", "dict[str, Json] | list[Json] | str | int | float | bool | None"
)
T = TypeVar("T")


def made(annotation: Any, mode: Mode = "validation") -> Schema:
    schema = schema_of(annotation, "the message of say()", mode)
    assert schema is not None
    return schema


def problem(schema: Schema, message: object) -> dict[str, Any]:
    """The first problem of a message that does not fit."""
    with pytest.raises(InvalidMessage) as raised:
        schema.validate(message)
    first: dict[str, Any] = raised.value.data[0]
    return first


@pytest.mark.parametrize(
    ("annotation", "message", "read"),
    [
        (str, "hi", "hi"),
        (int, -5, -5),
        (float, 1.5, 1.5),
        (float, 5, 5.0),
        (bool, False, False),
        (None, None, None),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1, 2], [1, 2]),
        (list[Any], [None], [None]),
        (Sequence[str], ["a"], ["a"]),
        (dict, {"a": None}, {"a": None}),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Mapping[str, object], {"a": []}, {"a": []}),
        (dict[int, str], {"5": "x", "-7": "y", "0": ""}, {5: "x", -7: "y", 0: ""}),
        (dict[Literal["x", "y"], int], {"x": 1}, {"x": 1}),
        (dict[RoomName, int], {"a": 1}, {"a": 1}),
        (tuple, [1, "a"], (1, "a")),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[()], [], ()),
        (set[str], ["a", "a"], {"a"}),
        (frozenset, [1, 1], frozenset({1})),
        (set[tuple[int, int]], [[1, 2], [1, 2]], {(1, 2)}),
        (Literal["a", 1, None], "a", "a"),
        (Literal["a", 1, None], 1, 1),
        (Literal["a", 1, None], None, None),
        (Literal[True], True, True),
        (Optional[str], None, None),  # noqa: UP045 (the older way to write it)
        (Union[int, str], "a", "a"),  # noqa: UP007
        (int | float, 5, 5),
        (float | int, 5, 5),
        (float | None, 5, 5.0),
        (list[int] | list[str], ["a"], ["a"]),
        (dict[str, int] | None, {"a": 1}, {"a": 1}),
        (RoomName, "chat", "chat"),
        (Names | None, ["chat"], ["chat"]),
        (list[list[list[int]]], [[[1], []], []], [[[1], []], []]),
    ],
)
def test_builtin_types_need_no_library(annotation: Any, message: Any, read: Any) -> None:
    """The handler gets what the annotation says; nothing but numbers and containers changes."""
    schema = made(annotation)
    assert isinstance(schema, PlainSchema)
    got = schema.validate(message)
    assert got == read and type(got) is type(read)


@pytest.mark.parametrize(
    ("annotation", "message", "loc", "msg"),
    [
        (str, 5, [], "must be a string"),
        (str, None, [], "must be a string"),
        (int, True, [], "must be an integer"),
        (int, 5.0, [], "must be an integer"),
        (int, "5", [], "must be an integer"),
        (float, False, [], "must be a number"),
        (bool, 1, [], "must be true or false"),
        (None, 0, [], "must be null"),
        (list[int], {}, [], "must be an array"),
        (list[int], [1, 2, "3"], [2], "must be an integer"),
        (dict[str, int], [], [], "must be an object"),
        (dict[str, list[int]], {"a": [], "b": [1, None]}, ["b", 1], "must be an integer"),
        (dict[int, str], {"05": "x"}, ["05"], "its key must be an integer"),
        (dict[int, str], {"-0": "x"}, ["-0"], "its key must be an integer"),
        (dict[int, str], {"9" * 20: "x"}, ["9" * 20], "its key must be an integer"),
        (dict[int, str], {"٣": "x"}, ["٣"], "its key must be an integer"),
        (dict[Literal["x"], int], {"y": 1}, ["y"], "must be 'x'"),
        (tuple[int, str], [1], [], "must be an array of 2 values"),
        (tuple[int, str], [1, 2], [1], "must be a string"),
        (tuple[int, ...], ["a"], [0], "must be an integer"),
        (set, [[]], [], "must not contain arrays or objects"),
        (Literal["a", 1, None], True, [], "must be 'a', 1 or null"),
        (Literal["a", 1, None], [], [], "must be 'a', 1 or null"),
        (Literal[1, True], 1.0, [], "must be 1 or true"),
        (str | None, 5, [], "must be a string or null"),
        (list[int] | None, [None], [0], "must be an integer"),
        (list[int] | list[str], [1, "a"], [1], "must be an integer"),
        (Literal["a"] | Literal["b"], "c", [], "must be 'a' or 'b'"),
    ],
)
def test_other_messages_do_not_fit_builtin_types(
    annotation: Any, message: Any, loc: list[Any], msg: str
) -> None:
    """The first value that does not fit is named."""
    found = problem(made(annotation), message)
    assert (found["loc"], found["msg"]) == (loc, msg)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (list, {"type": "array", "items": {}}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (
            dict[int, float],
            {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "propertyNames": {"pattern": "^(0|-?[1-9][0-9]{0,18})$"},
            },
        ),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Literal["a"], {"const": "a"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
    ],
)
def test_the_json_schema_of_builtin_types(annotation: Any, expected: dict[str, Any]) -> None:
    """It is the same for what is sent and for what is received, and nobody else's value."""
    schema = made(annotation)
    assert schema.json_schema("validation") == schema.json_schema("serialization") == expected
    schema.json_schema("validation").clear()
    assert schema.json_schema("validation") == expected


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Struct(msgspec.Struct):
    text: str


class Model(BaseModel):
    text: str


class Pair(NamedTuple):
    left: int
    right: int


class Typed(typing_extensions.TypedDict):
    text: str


class TypedOfLibrary(typing_extensions.TypedDict):
    struct: Struct


class Partial(Typed, total=False):
    note: str


class Tree(BaseModel):
    text: str
    kids: list[Tree] = []


class Branch(msgspec.Struct):
    text: str
    kids: list[Branch] = []


class Page(BaseModel, Generic[T]):
    items: list[T]


@dataclass
class OfStruct:
    structs: dict[str, list[Struct]]


@dataclass
class OfModel:
    model: Model | None


@attrs.define
class Attrs:
    x: int
    y: int = 0


@pydantic.dataclasses.dataclass
class Checked:
    x: int


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Model, PydanticSchema),
        (list[Model], PydanticSchema),
        (dict[str, Model | None], PydanticSchema),
        (Page[int], PydanticSchema),
        (Tree, PydanticSchema),
        (OfModel, PydanticSchema),
        (Checked, PydanticSchema),
        (Json, PydanticSchema),
        (pydantic.JsonValue, PydanticSchema),
        (Annotated[str, Field(max_length=3)], PydanticSchema),
        (pydantic.PositiveInt, PydanticSchema),
        (Struct, MsgspecSchema),
        (list[Struct], MsgspecSchema),
        (OfStruct, MsgspecSchema),
        (TypedOfLibrary, MsgspecSchema),
        (Branch, MsgspecSchema),
        (Attrs, MsgspecSchema),
        (Annotated[str, msgspec.Meta(max_length=3)], MsgspecSchema),
        (Point, PydanticSchema),
        (Typed, PydanticSchema),
        (Pair, PydanticSchema),
        (Color, PydanticSchema),
        (Literal[Color.RED], PydanticSchema),
        (datetime, PydanticSchema),
        (list[UUID], PydanticSchema),
        (bytes, PydanticSchema),
        (dict[bool, int], PydanticSchema),
        (Annotated[str, "a name"], PydanticSchema),
    ],
)
def test_the_library_follows_the_type(annotation: Any, kind: type) -> None:
    """A model or a struct anywhere decides; the rest of the standard library is pydantic's."""
    assert type(made(annotation)) is kind


@pytest.mark.parametrize("annotation", [Any, object, typing_extensions.Never])
def test_every_message_fits_no_schema(annotation: Any) -> None:
    """So handlers without an annotation cost nothing."""
    assert schema_of(annotation, "it", "validation") is None


class StructOfModel(msgspec.Struct):
    model: Model


class ModelOfStruct(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    struct: Struct


class Broken(BaseModel):
    text: str

    @classmethod
    def __get_pydantic_json_schema__(cls, *args: Any) -> Any:
        raise KeyError("no such thing")


class Unfinished(BaseModel):
    later: Later  # type: ignore[name-defined] # noqa: F821


class OneStruct(msgspec.Struct):
    a: int


class OtherStruct(msgspec.Struct):
    b: int


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (Model | Struct, "has types of pydantic and of msgspec in it: .*; use those of one"),
        (StructOfModel, "has types of pydantic and of msgspec in it: StructOfModel"),
        (ModelOfStruct, "has types of pydantic and of msgspec in it: ModelOfStruct"),
        (dict[str, tuple[Model, Struct]], "has types of pydantic and of msgspec in it"),
        (Broken, "no JSON schema of Broken: KeyError: 'no such thing'$"),
        (Unfinished, r"no JSON schema of Unfinished: PydanticUserError: .*not fully defined"),
        (OneStruct | OtherStruct, "no JSON schema of .*OneStruct.*: TypeError: .*must be tagged"),
        (type, "no JSON schema of type: Pydantic"),
        (types.ModuleType, "no JSON schema of module: Pydantic"),
        (5, "no JSON schema of 5: Pydantic"),
    ],
)
def test_types_that_cannot_be_checked_are_refused(annotation: Any, sentence: str) -> None:
    """The sentence says whose type it is, which one, and the library's reason in one line."""
    with pytest.raises(SetupError, match=f"^the message of say\\(\\) .*{sentence}") as raised:
        schema_of(annotation, "the message of say()", "validation")
    assert "\n" not in str(raised.value) and "https://" not in str(raised.value)


class Add(BaseModel):
    kind: Literal["add"] = "add"
    left: Expression
    right: Expression | None = None


class Multiply(BaseModel):
    kind: Literal["multiply"] = "multiply"
    left: Expression


Expression = Add | Multiply | int


class ListOfThese(BaseModel):
    items: list[ListOfThese | ListOfThose]


class ListOfThose(BaseModel):
    items: list[ListOfThese | ListOfThose]
    more: int


class Told(BaseModel):
    kind: Literal["told"]
    child: Annotated[Told | Apart, Field(discriminator="kind")] | None = None


class Apart(BaseModel):
    kind: Literal["apart"]
    child: Annotated[Told | Apart, Field(discriminator="kind")] | None = None


class Left(BaseModel):
    left: Left | Right | None = None


class Right(BaseModel):
    right: Left | Right | None = None


class Menu(BaseModel):
    title: str
    entries: list[Menu | Entry]


class Entry(BaseModel):
    title: str


class Mapped(BaseModel):
    children: dict[str, Mapped | OtherMapped | None]


class OtherMapped(BaseModel):
    children: dict[str, Mapped | OtherMapped | None]


class Tuple(BaseModel):
    pair: tuple[int, Tuple | OtherTuple]


class OtherTuple(BaseModel):
    pair: tuple[int, Tuple | OtherTuple]


@pytest.mark.parametrize(
    ("annotation", "members"),
    [
        (Expression, r"Add \| Multiply"),
        (list[Expression], r"Add \| Multiply"),
        (Annotated[Expression, Field(description="x")], r"Add \| Multiply"),
        (ListOfThese, r"ListOfThese \| ListOfThose"),
        (Mapped, r"Mapped \| OtherMapped"),
        (Tuple, r"Tuple \| OtherTuple"),
    ],
)
def test_unions_that_take_exponential_time_are_refused(annotation: Any, members: str) -> None:
    """Two members that lead back to their union by the same keys double the time at each level."""
    with pytest.raises(SetupError, match=f"a union, {members}, .*discriminator"):
        made(annotation)
    assert made(annotation, "serialization")  # only a client's messages are checked by trying


def nested(key: str, levels: int, innermost: Any, **more: Any) -> Any:
    value = innermost
    for _ in range(levels):
        value = {key: value, **more}
    return value


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Told, nested("child", 60, "x", kind="apart")),
        (Left, nested("left", 60, "x")),
        (Tree, nested("kids", 1, [nested("kids", 1, "x")] * 500)),
        (Menu, nested("entries", 60, "x", title="x")),
        (pydantic.JsonValue, nested("a", 60, "x")),
        (Branch, nested("kids", 60, "x", text="x")),
        (Model, [[[[]] * 1000] * 8] * 8),
        (list[Model], [[[]] * 8000, *[[]] * 8000]),
        (Struct, [[[[]] * 1000] * 8] * 8),
        (list[list[int]] | list[list[str]], [[1] * 15000, ["x"] * 15000]),
        (dict[str, list[Tree]], {"x": [{"text": "x", "kids": [{}] * 10000}]}),
    ],
)
def test_large_and_deep_messages_are_checked_in_bounded_time(annotation: Any, message: Any) -> None:
    """Recursive types, unions, and 64 KiB of nested arrays: an answer, and a short one."""
    schema = made(annotation)
    try:
        schema.validate(message)
    except InvalidMessage as exc:
        assert len(exc.detail) < 400 and 1 <= len(exc.data) <= 10


class Aliased(BaseModel):
    from_: str = Field(alias="from")
    size: int = 5

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.size


class Renamed(msgspec.Struct, rename="camel"):
    room_name: str
    max_size: int = 5
    left_out: int | msgspec.UnsetType = msgspec.UNSET


class Sparse(msgspec.Struct, omit_defaults=True):
    text: str
    size: int = 5


def required(annotation: Any, mode: Mode) -> list[str]:
    schema: Any = made(annotation, mode).json_schema(mode)
    (found,) = schema.get("$defs", {"": schema}).values()
    names: list[str] = found["required"]
    return names


@pytest.mark.parametrize(
    ("annotation", "sent", "received"),
    [
        (Aliased, ["from"], ["from", "size", "double"]),
        (Renamed, ["roomName"], ["roomName", "maxSize"]),
        (Sparse, ["text"], ["text"]),
        (Attrs, ["x"], ["x", "y"]),
        (Point, ["x"], ["x", "y"]),
        (Partial, ["text"], ["text"]),
    ],
)
def test_what_is_received_has_all_fields(
    annotation: Any, sent: list[str], received: list[str]
) -> None:
    """Names are those in JSON; fields with defaults are required in what the app sends."""
    assert required(annotation, "validation") == sent
    assert required(annotation, "serialization") == received


def test_two_models_of_one_name_are_told_apart() -> None:
    """In one JSON schema both have their own definition."""
    first = Model

    def second() -> type[BaseModel]:
        class Model(BaseModel):
            number: int

        return Model

    both: Any = tuple.__class_getitem__((first, second()))
    schema: Any = made(both).json_schema("validation")
    properties = [set(found["properties"]) for found in schema["$defs"].values()]
    assert sorted(properties, key=str) == [{"number"}, {"text"}]


def test_local_classes() -> None:
    """They are types like others; what their library cannot resolve is a sentence."""

    class Inner(BaseModel):
        x: int

    class Outer(BaseModel):
        inner: Inner
        default: Any = object()  # JSON has no form for it

    class Leaf(msgspec.Struct):
        x: int

    class Stem(msgspec.Struct):
        leaf: Leaf

    read: Any = made(Outer).validate({"inner": {"x": 1}})
    assert read.inner == Inner(x=1)
    assert made(list[Leaf]).validate([{"x": 1}]) == [Leaf(1)]
    with pytest.raises(SetupError, match=r"no JSON schema of .*Stem: NameError: name 'Leaf' is"):
        made(Stem)


def test_json_semantics() -> None:
    """A strict model takes a date from JSON text, and integer keys are text in JSON."""

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        at: datetime
        numbers: dict[int, int]

    schema = made(Strict)
    read: Any = schema.validate({"at": "2026-01-02T03:04:05Z", "numbers": {"5": 1}})
    assert read.at.year == 2026 and read.numbers == {5: 1}
    assert problem(schema, {"at": "2026-01-02T03:04:05Z", "numbers": {"5": "1"}})["loc"] == [
        "numbers",
        "5",
    ]


def test_what_a_validator_raises_is_no_invalid_message() -> None:
    """Only ValueError says that a message is invalid; a failure of the app's code stays one."""

    class Failing(BaseModel):
        text: str

        @pydantic.field_validator("text")
        @classmethod
        def check(cls, text: str) -> str:
            if text == "fail":
                raise KeyError("no such thing")
            raise ValueError("say it nicely")

    schema = made(Failing)
    assert problem(schema, {"text": "x"})["msg"] == "Value error, say it nicely"
    with pytest.raises(KeyError):
        schema.validate({"text": "fail"})


def test_builtin_types_import_no_library() -> None:
    """An app with handlers of builtin types imports neither pydantic nor msgspec."""
    code = (
        "import sys\n"
        "from wsroom import WSRoom\n"
        "app = WSRoom()\n"
        "async def say(emitter, message: dict[str, list[int | None]]) -> str: ...\n"
        "app.add_handler('say', say)\n"
        "app.emits('said', str)\n"
        "print('pydantic' in sys.modules, 'msgspec' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
