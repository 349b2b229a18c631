"""What a client is told about an invalid message: where it is wrong, within limits."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest
from pydantic import BaseModel, Field

from wsroom.schema.msgspec_schema import read_problem
from wsroom.schema.problems import InvalidMessage, Problem
from wsroom.schema.schema import Schema
from wsroom.schema.selection import schema_of


def made(annotation: Any) -> Schema:
    schema = schema_of(annotation, "the message of say()", "validation")
    assert schema is not None
    return schema


def refused(annotation: Any, message: object) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as raised:
        made(annotation).validate(message)
    return raised.value


def locations(annotation: Any, message: object) -> list[list[str | int]]:
    return [entry["loc"] for entry in refused(annotation, message).data]


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    name: str
    age: int


class Zoo(BaseModel):
    pets: list[Cat | Dog | int] = []
    owner: str = Field(default="", alias="Owner")
    ages: dict[int, int] = {}
    pair: tuple[int, str] = (0, "")
    names: dict[str, str | int] = {}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (5, [[]]),
        ({"Owner": 5}, [["Owner"]]),
        (
            {"pets": [1, {"name": 5}]},
            [
                ["pets", 1, "lives"],
                ["pets", 1, "name"],
                ["pets", 1, "age"],
                ["pets", 1],
            ],
        ),
        ({"pets": {"0": 1}}, [["pets"]]),
        ({"ages": {"x": 1}}, [["ages", "x"]]),
        ({"ages": {"7": "y"}}, [["ages", "7"]]),
        ({"pair": [1]}, [["pair"]]),
        ({"pair": [1, 2]}, [["pair", 1]]),
        ({"names": {"str": []}}, [["names", "str"], ["names", "str"]]),
    ],
)
def test_a_location_has_only_steps_of_the_message(message: Any, expected: Any) -> None:
    """And a missing field's name: no member of a union, no mark of a key, no missing index."""
    assert locations(Zoo, message) == expected


class Node(msgspec.Struct, forbid_unknown_fields=True):
    name: str = msgspec.field(name="a.b[c]`")
    kids: list[Node] = []
    by_key: dict[str, list[int]] = {}
    numbers: dict[int, int] = {}


@pytest.mark.parametrize(
    ("message", "loc", "type"),
    [
        (5, [], "invalid"),
        ({}, ["a.b[c]`"], "missing"),
        ({"a.b[c]`": 5}, ["a.b[c]`"], "invalid"),
        ({"a.b[c]`": "", "kids": [{}]}, ["kids", 0, "a.b[c]`"], "missing"),
        ({"a.b[c]`": "", "kids": [{"a.b[c]`": 1}]}, ["kids", 0, "a.b[c]`"], "invalid"),
        ({"a.b[c]`": "", "more": 1}, ["more"], "extra_forbidden"),
        ({"a.b[c]`": "", "x - at `$.y": 1}, [], "invalid"),
        ({"a.b[c]`": "", "by_key": {"x": 1}}, ["by_key", "*"], "invalid"),
        ({"a.b[c]`": "", "by_key": {"x": [1, ""]}}, ["by_key", "*", 1], "invalid"),
        ({"a.b[c]`": "", "numbers": {"x": 1}}, ["numbers", "*"], "invalid"),
    ],
)
def test_the_paths_of_msgspec_are_read(message: Any, loc: list[Any], type: str) -> None:
    """Also names with dots and brackets; a star is a key that msgspec does not name.

    A key that looks like a path adds no step.
    """
    (entry,) = refused(Node, message).data
    assert (entry["loc"], entry["type"]) == (loc, type)


def test_a_path_to_nothing_ends_before_it() -> None:
    """A text of another shape never adds a step that the message does not have."""
    problem = read_problem("Expected `int` - at `$.a[3].b`", {"a": [1]})
    assert problem == Problem(("a",), "Expected `int`", "invalid")
    assert read_problem("Something else", {}) == Problem((), "Something else", "invalid")


def test_the_sentence_names_the_first_problem() -> None:
    """And how many more there are."""
    exc = refused(Zoo, {"pets": [{"name": 5}], "Owner": 7})
    assert exc.detail == "the message is invalid: pets.0.lives: Field required (and 4 more)"
    assert exc.code == "invalid_message"
    assert refused(list[int], ["x"]).detail == "the message is invalid: 0: must be an integer"


def test_there_are_ten_problems_at_most() -> None:
    """Above a hundred there is one, which says so, and the library does not describe them."""
    assert len(refused(list[Cat], [{}] * 9).data) == 9
    assert len(refused(list[Cat], [{}] * 100).data) == 10
    exc = refused(list[Cat], [{}] * 101)
    assert exc.data == [
        {"loc": [], "msg": "more than 100 values are invalid", "type": "too_many_errors"}
    ]
    assert exc.detail == "the message is invalid: more than 100 values are invalid"


def test_strings_are_cut() -> None:
    """At 100 characters each, whatever the client or the app has put into them."""

    class Verbose(BaseModel):
        x: int

        def __init__(self, **data: Any) -> None:
            raise ValueError("x" * 10_000)

    exc = refused(dict[str, int], {"k" * 1000: "x"})
    assert exc.data[0]["loc"] == ["k" * 99 + "…"]
    assert len(exc.detail) < 300
    long = InvalidMessage([Problem(("a" * 101,), "b" * 101, "c" * 101)])
    assert {len(text) for text in (*long.data[0]["loc"], *list(long.data[0].values())[1:])} == {100}


@pytest.mark.parametrize("character", ["x", "\0", "\U0001f600", "\ud800"])
@pytest.mark.parametrize("count", [1, 10, 1000])
@pytest.mark.parametrize("steps", [0, 1, 63])
def test_the_data_have_at_most_eight_kilobytes(character: str, count: int, steps: int) -> None:
    """In any encoding of their text; there is always at least one problem."""
    text = character * 200
    exc = InvalidMessage([Problem((text, 7) * steps, text, text)] * count)
    assert 1 <= len(exc.data) <= 10
    assert len(orjson.dumps(exc.data)) <= 8000
    assert all(len(entry["loc"]) <= 2 * steps for entry in exc.data)
    json.dumps(exc.data)


def test_no_library_names_its_website() -> None:
    """Nor does it repeat the client's input."""
    exc = refused(Zoo, {"Owner": {"secret": 1}, "pets": ["secret"]})
    assert "http" not in str(exc.data) and "secret" not in str(exc.data)
