"""Messages of the app as JSON: models of other libraries, and errors that say where."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from wsroom import Emitter, WSRoom
from wsroom.testing import TestClient
from wsroom.wire.encoding import with_default
from wsroom.wire.protocol import encode

NEW_YEAR = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class User(pydantic.BaseModel):
    user_id: int = pydantic.Field(serialization_alias="userId")
    since: datetime.datetime = NEW_YEAR


class Numbers(pydantic.RootModel[list[float]]):
    pass


class Extra(pydantic.BaseModel, extra="allow"):
    pass


class Card(msgspec.Struct, rename="camel", tag=True, omit_defaults=True):
    board_name: str
    user: User | None = None
    price: Decimal | None = None


class Pair(msgspec.Struct, array_like=True):
    x: float
    y: int


@attrs.define
class Item:
    name: str
    inner: Any = None


@dataclass
class Holder:
    inside: Any


ALICE = {"userId": 1, "since": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        (User(user_id=1), ALICE),
        ([{"users": (User(user_id=1),)}], [{"users": [ALICE]}]),
        (Numbers([1.5, 2]), [1.5, 2]),
        (Extra.model_validate({"a": 1}), {"a": 1}),
        (Card("x"), {"type": "Card", "boardName": "x"}),
        (
            Card("x", User(user_id=1), Decimal("1.10")),
            {"type": "Card", "boardName": "x", "user": ALICE, "price": "1.10"},
        ),
        (Pair(1.5, 2), [1.5, 2]),
        (Item("a", Item("b", {3})), {"name": "a", "inner": {"name": "b", "inner": [3]}}),
        (Holder(User(user_id=1)), {"inside": ALICE}),
        (Decimal("0.30"), "0.30"),
        (PurePosixPath("/tmp") / "a", "/tmp/a"),
        (frozenset({1}), [1]),
        ({None}, [None]),
    ],
)
def test_models_and_common_types_are_encoded(message: Any, encoded: Any) -> None:
    """By their aliases, at any depth."""
    assert json.loads(encode("e", message))["message"] == encoded


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"a": [1, {"b": b"x"}]}, "message['a'][1]['b']: bytes has no form in JSON"),
        (Holder([Item("a", object())]), "message.inside[0].inner: object has no form in JSON"),
        ({"a": {1: 2}}, "message['a']: Dict key must be str"),
        ([2**70], "message[0]: Integer exceeds 64-bit range"),
        ([Decimal("nan")], "message[0]: a decimal must be finite"),
        (b"x", "message: bytes has no form in JSON"),
    ],
)
def test_an_error_says_where_the_value_is(message: Any, says: str) -> None:
    """And names the event."""
    with pytest.raises(TypeError) as failure:
        encode("said", message)
    assert str(failure.value) == f"the message of 'said' is not JSON: {says}"


def test_a_circle_is_an_error() -> None:
    """It ends, in bounded time."""
    circle: list[Any] = []
    circle.append({"again": circle})
    with pytest.raises(TypeError, match="'said' is not JSON"):
        encode("said", circle)


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"a": [math.nan]}, "message['a'][0]"),
        ([Numbers([math.inf])], "message[0].root[0]"),
        (Pair(math.nan, 1), "message.x"),
        (Item("a", {math.inf}), "an element of message.inner"),
        (Extra.model_validate({"x": math.nan}), "message.x"),
    ],
)
def test_nan_is_found_in_models_too(message: Any, where: str) -> None:
    """JSON has no NaN, and null would be a wrong number."""
    with pytest.raises(ValueError, match="NaN or an infinity") as failure:
        encode("said", message)
    assert str(failure.value).endswith(f": {where}")


async def test_the_app_converts_its_own_types() -> None:
    """`json_default` comes first, for emits and replies; it may leave the rest to wsroom."""

    def convert(value: Any) -> Any:
        if isinstance(value, complex):
            return [value.real, value.imag]
        if isinstance(value, Decimal):
            return float(value)
        raise TypeError

    app = WSRoom(json_default=convert)

    @app.on("say")
    async def say(emitter: Emitter) -> Any:
        values = [1j, Decimal("0.5"), {2}]
        await app.to().emit("said", values)
        await emitter.emit("said", values)
        await emitter.emit_to_sender("said", values)
        return values

    async with TestClient(app) as client:
        a = await client.connect()
        converted = [[0, 1], 0.5, [2]]
        assert await a.request("say") == converted
        for _ in range(3):
            assert await a.expect("said") == converted


def test_a_default_of_the_app_may_fail() -> None:
    """Its TypeError means that it does not know the value; another exception is the reason."""

    def fail(value: Any) -> Any:
        raise RuntimeError("no database")

    with pytest.raises(TypeError, match="no database"):
        encode("said", [1j], default=with_default(fail))


def test_no_library_is_imported(tmp_path: Path) -> None:
    """An app that uses none of them does not pay for their import."""
    code = (
        "import sys, wsroom; from wsroom.wire.protocol import encode; encode('e', {'a': {1}});"
        "print([name for name in ('pydantic', 'msgspec', 'attrs', 'attr') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
