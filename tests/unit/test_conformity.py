"""What the app sends against the JSON schema that it declares."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field
from typing_extensions import TypedDict

from wsroom.schema.conformity import check_payload
from wsroom.schema.problems import InvalidMessage
from wsroom.schema.selection import schema_of
from wsroom.wire.protocol import encode


def mismatch(annotation: Any, message: object) -> str:
    """The reason why an emitted message is not as declared; "" if it is."""
    schema = schema_of(annotation, "it", "serialization")
    assert schema is not None
    try:
        check_payload(encode("said", message), schema, "the message of 'said'")
    except ValueError as exc:
        prefix = "the message of 'said' is not "
        assert str(exc).startswith(prefix)
        return str(exc).partition("as declared: ")[2]
    return ""


class Card(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int
    text: str = Field(alias="Text", max_length=5)
    at: datetime | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.id


class Typing(BaseModel):
    kind: Literal["typing"] = "typing"


class Said(BaseModel):
    kind: Literal["said"] = "said"
    cards: list[Card] = []


class Partial(TypedDict, total=False):
    text: str


class Struct(msgspec.Struct, tag="struct", rename="camel"):
    room_name: str
    kids: list[Struct] = []
    note: str | msgspec.UnsetType = msgspec.UNSET


Event = Annotated[Typing | Said, Field(discriminator="kind")]
CARD = Card(id=1, Text="hello")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Card, CARD),
        (Card, {"id": 1, "Text": "hi", "at": None, "twice": 7}),
        (Event, Said(cards=[CARD])),
        (Event, Typing()),
        (list[Event], [Typing(), Said()]),
        (Partial, {}),
        (Struct, Struct("chat", [Struct("x", note="n")])),
        (dict[str, float], {"a": 1, "b": 1.5}),
        (tuple[int, str], (1, "a")),
        (tuple[()], ()),
        (None, None),
        (Literal["a", 1], 1),
        (str | None, None),
        (datetime, datetime(2026, 1, 2)),
        (dict[str, Any], {"a": []}),
        (set[int], {1, 2}),
    ],
)
def test_what_fits(annotation: Any, message: object) -> None:
    """By alias, with computed fields, without optional ones: as it is encoded."""
    assert mismatch(annotation, message) == ""


@pytest.mark.parametrize(
    ("annotation", "message", "reason"),
    [
        (Card, {"id": 1, "text": "hi"}, "message has no 'Text'"),
        (Card, {"id": 1, "Text": "hi", "at": None}, "message has no 'twice'"),
        (
            Card,
            {"id": 1, "Text": "hi", "at": None, "twice": 1, "more": 1},
            "message['more'] is not allowed",
        ),
        (
            Card,
            {"id": "1", "Text": "hi", "at": None, "twice": 7},
            "message['id'] is not integer",
        ),
        (
            Card,
            Card.model_construct(id=1, Text="too long"),
            "message['Text'] does not have maxLength 5",
        ),
        (
            Event,
            {"kind": "said", "cards": [{"id": True, "Text": "", "at": None, "twice": 0}]},
            "message['cards'][0]['id'] is not integer",
        ),
        (Event, {"kind": "other"}, "message['kind'] is none of ['typing']"),
        (Struct, {"type": "struct", "roomName": "x"}, "message has no 'kids'"),
        (
            Struct,
            {"type": "struct", "roomName": "x", "kids": [1]},
            "message['kids'][0] is not object",
        ),
        (Partial, {"text": None}, "message['text'] is not string"),
        (dict[str, float], {"a": None}, "message['a'] is not number"),
        (tuple[int, str], (1, 2), "message[1] is not string"),
        (tuple[int, str], (1,), "message does not have minItems 2"),
        (None, 0, "message is not null"),
        (Literal["a", 1], True, "message is none of ['a', 1]"),
        (int, 5.0, "message is not integer"),
        (str | None, 5, "message is not string"),
    ],
)
def test_what_does_not_fit(annotation: Any, message: object, reason: str) -> None:
    """The place and the reason."""
    assert mismatch(annotation, message) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from(["a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)
BUILTIN = [
    int, float, str | None, list, list[int], list[str | list[float]], dict[str, int | None],
    dict[str, list[bool]] | list[dict[str, str]], tuple[int, str], tuple[float, ...],
    Literal["a", 1, True, None], tuple[()], list[Any] | bool,
]  # fmt: skip


@given(st.sampled_from(BUILTIN), JSON)
def test_what_is_accepted_is_what_the_json_schema_says(annotation: Any, message: Any) -> None:
    """Builtin types, both ways: a message that fits the one fits the other."""
    schema = schema_of(annotation, "it", "validation")
    assert schema is not None
    try:
        schema.validate(orjson.loads(orjson.dumps(message)))
        fits = True
    except InvalidMessage:
        fits = False
    assert fits == (mismatch(annotation, message) == "")


def test_unknown_keywords_allow_everything() -> None:
    """A schema of the app's own may have any of them."""

    class Odd:
        annotation = "Odd"

        def validate(self, message: object) -> object:
            raise NotImplementedError

        def json_schema(self, mode: str) -> dict[str, object]:
            return {
                "not": {},
                "allOf": [{"type": ["string", "null"]}],
                "patternProperties": {".": False},
                "additionalProperties": False,
            }

    payload = orjson.dumps({"message": "x"})
    check_payload(payload, Odd(), "it")
    with pytest.raises(ValueError, match="it is not Odd, as declared: message is not string or nu"):
        check_payload(orjson.dumps({"message": 5}), Odd(), "it")
