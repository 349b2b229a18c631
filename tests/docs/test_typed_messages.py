"""docs/typed-messages.md: its table of conversions, and its answer to an invalid message."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.support.pages import blocks
from tests.support.paths import ROOT
from wsroom import Emitter, WSRoom
from wsroom.schema.msgspec_schema import MsgspecSchema
from wsroom.schema.plain import NotPlain, PlainSchema
from wsroom.schema.problems import InvalidMessage
from wsroom.schema.pydantic_schema import PydanticSchema
from wsroom.schema.schema import Schema
from wsroom.testing import Refused, TestClient

PAGE = ROOT / "docs" / "typed-messages.md"


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


NAMES = {
    each.__name__: each for each in (Color, Point, UUID, Decimal, date, datetime, timedelta)
} | {"Literal": Literal, "UTC": UTC}


def rows() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8").partition("<!-- conversions -->\n")[2]
    table = text.partition("\n\n")[0].replace(r"\|", "\N{BROKEN BAR}").splitlines()[2:]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table]
    return [[cell.replace("\N{BROKEN BAR}", "|") for cell in row] for row in cells]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_of_conversions_is_true(row: list[str]) -> None:
    """Each cell is the value that the handler gets, a dash, or empty for a type of a library."""
    annotation, message = eval(row[0], NAMES), json.loads(row[1])
    makers: list[Callable[[Any], Schema]] = [PlainSchema, MsgspecSchema, PydanticSchema]
    for make, cell in zip(makers, row[2:], strict=True):
        if not cell:
            with pytest.raises(NotPlain):
                make(annotation)
        elif cell == "-":
            with pytest.raises(InvalidMessage):
                make(annotation).validate(message)
        else:
            expected, got = eval(cell, NAMES), make(annotation).validate(message)
            assert got == expected and type(got) is type(expected)


async def test_the_answer_is_as_shown() -> None:
    """The example of an `error`, and the sentence in it."""
    (shown,) = [json.loads(each.text) for each in blocks(PAGE) if each.language == "json"]
    app = WSRoom()

    class Say(BaseModel):
        room: str
        text: str

    @app.on("say")
    async def say(emitter: Emitter, message: Say) -> None: ...

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("say", {"room": "chat"})
        assert await a.expect("error") == shown
        with pytest.raises(Refused, match=re.escape(shown["detail"])):
            await a.request("say", {"room": "chat"})
