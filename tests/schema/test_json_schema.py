"""Schemas of several libraries under one set of definitions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.contracts import PYDANTIC, TWINS, Cat, messages, sent, struct
from wsroom import SetupError
from wsroom.schema.asyncapi import document
from wsroom.schema.contract import JsonSchema
from wsroom.schema.json_schema import PREFIX, accepts_null, share
from wsroom.schema.python_types import declarations as python
from wsroom.schema.subschemas import resolve
from wsroom.schema.typescript import declarations as typescript


def shared(*schemas: JsonSchema) -> tuple[list[JsonSchema], dict[str, Any]]:
    contract, definitions = share(messages({str(n): each for n, each in enumerate(schemas)}))
    written = [each.message for each in contract.paths[0].client]
    return [each for each in written if each is not None], dict(definitions)


def ref(name: str) -> dict[str, str]:
    return {"$ref": PREFIX + name}


def test_a_schema_with_a_title_is_a_definition() -> None:
    """Its name is the title; a schema without one stays where it is."""
    written, definitions = shared(sent(Cat), {"type": "array", "items": {"type": "integer"}})
    assert written == [ref("Cat"), {"type": "array", "items": {"type": "integer"}}]
    assert definitions == {"Cat": sent(Cat)}


def test_equal_definitions_are_one_and_others_are_numbered() -> None:
    """In one schema or in several, whatever the libraries call them; names are identifiers."""
    written, definitions = shared(*TWINS.values())
    names = [each["$ref"].removeprefix(PREFIX) for each in written if "$ref" in each]  # type: ignore[index, operator]
    assert names == ["Card", "Card", "Card_2", "Get", "Paths_2", "class_2", "Schema", "_3_D"]
    assert set(definitions) == {*names, "Cat", "Cat_2"}
    assert written[3] == {"anyOf": [ref("Cat"), ref("Cat_2")]}
    assert definitions["Card_2"]["properties"]["id"]["default"] == 2


def node(target: str, leaf: str) -> JsonSchema:
    """A schema that contains itself, through another definition."""
    return {
        "$ref": "#/$defs/a__Node",
        "$defs": {
            "a__Node": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/{target}"}}},
            target: {"anyOf": [{"$ref": "#/$defs/a__Node"}, {"type": leaf}]},
        },
    }


def test_recursive_definitions_are_compared() -> None:
    """Two are equal if all that they refer to is, however deep."""
    written, definitions = shared(node("x__Next", "null"), node("y__Next", "null"))
    assert written == [ref("Node"), ref("Node")] and list(definitions) == ["Node", "Next"]
    written, definitions = shared(node("Next", "null"), node("Next", "string"))
    assert written == [ref("Node"), ref("Node_2")]
    assert definitions["Node_2"]["properties"]["next"] == ref("Next_2")


def test_a_reference_to_the_root_or_into_it() -> None:
    """They become definitions, with the names of their places."""
    written, definitions = shared(
        {"properties": {"self": {"$ref": "#"}, "a/b": True, "copy": {"$ref": "#/properties/a~1b"}}}
    )
    assert written == [ref("Schema")]
    assert definitions["Schema"]["properties"]["self"] == ref("Schema")
    assert definitions["a_b"] is True


def test_only_schemas_are_rewritten() -> None:
    """A value, or a property, may be called `$ref`; a discriminator's mapping has references."""
    values = {"$ref": "#/$defs/Cat"}
    (written,), _ = shared(
        {
            "properties": {"$ref": {"const": values, "default": values, "examples": [values]}},
            "oneOf": [{"$ref": "#/$defs/Cat"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}},
            "$defs": {"Cat": sent(Cat)},
        }
    )
    assert written == {
        "properties": {"$ref": {"const": values, "default": values, "examples": [values]}},
        "oneOf": [ref("Cat")],
        "discriminator": {"propertyName": "kind", "mapping": {"cat": PREFIX + "Cat"}},
    }


@pytest.mark.parametrize(
    "target", ["#/$defs/Dog", "https://example.com/dog.json", "#anchor", "#/x/9"]
)
def test_a_missing_definition_is_named(target: str) -> None:
    """Also one in another file, or at an anchor: the error says which schema needs it."""
    schema = {"items": {"$ref": target}, "x": [1]}
    with pytest.raises(SetupError) as error:
        shared(schema)
    assert str(error.value) == (
        f"the message of event '0' on '/ws' refers to {target!r}, "
        "which its JSON schema does not have"
    )


def nested(levels: int) -> JsonSchema:
    schema: JsonSchema = True
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_a_schema_that_is_nested_too_deep_is_refused() -> None:
    """With a sentence; what is allowed can be written in all languages."""
    with pytest.raises(SetupError, match="event '0' on '/ws' is nested deeper than 64 levels; use"):
        shared(nested(5000))
    with pytest.raises(SetupError, match="nested deeper"):
        shared(nested(64))
    allowed = messages({"deep": nested(63)})
    assert "unknown" + "[]" * 63 in typescript(allowed)
    assert "list[" * 63 in python(allowed)
    assert json.dumps(document(allowed, builtins=False)).count('"array"') == 2 * 63


def test_a_long_chain_of_definitions_takes_bounded_time() -> None:
    """Each refers to the next: what is compared step by step ends in seconds."""
    definitions = {
        f"D{n}": {"properties": {"next": {"$ref": f"#/$defs/D{n + 1}"}}} for n in range(500)
    }
    chain: JsonSchema = {"$ref": "#/$defs/D0", "$defs": {**definitions, "D500": True}}
    begin = time.perf_counter()
    _, found = shared(chain, chain)
    assert len(found) == 501 and time.perf_counter() - begin < 20
    links: dict[str, JsonSchema] = {f"D{n}": {"anyOf": [ref(f"D{n + 1}")]} for n in range(500)}
    assert accepts_null(ref("D0"), {**links, "D500": False})  # in doubt it may be left out


NULLABLE: list[tuple[JsonSchema | None, bool]] = [
    (None, True),
    (True, True),
    (False, False),
    ({}, True),
    ({"type": "null"}, True),
    ({"type": ["string", "null"]}, True),
    ({"type": "string"}, False),
    ({"const": None}, True),
    ({"const": 0}, False),
    ({"enum": [1, None]}, True),
    ({"enum": [1]}, False),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, False),
    ({"allOf": [{}, {"type": "string"}]}, False),
    (ref("Nullable"), True),
    (ref("Text"), False),
    (ref("Itself"), True),
]


@pytest.mark.parametrize(("schema", "expected"), NULLABLE)
def test_whether_null_is_accepted(schema: JsonSchema | None, expected: bool) -> None:
    """Then the message may be left out of a frame."""
    definitions: dict[str, JsonSchema] = {
        "Nullable": {"anyOf": [ref("Text"), {"type": "null"}]},
        "Text": {"type": "string"},
        "Itself": {"allOf": [ref("Itself")]},
    }
    assert accepts_null(schema, definitions) is expected


def test_references_are_followed() -> None:
    """With escapes of JSON pointers and of URLs, and indexes of lists."""
    schema = {"a b": {"c/d": [1, {"~": 2}]}}
    assert resolve(schema, "#/a%20b/c~1d/1/~0") == 2
    assert resolve(schema, "#") == schema
    assert resolve(schema, "#/a%20b/c~1d/7") is None


def test_all_models_of_pydantic_and_msgspec() -> None:
    """Every reference leads to a definition."""

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(target := value.get("$ref"), str):
                assert target.removeprefix(PREFIX) in definitions, target
            for each in value.values():
                check(each)
        if isinstance(value, list):
            for each in value:
                check(each)

    written, definitions = shared(*PYDANTIC.values(), struct(list[int]))
    check(written)
    check(definitions)
    assert "Node" in definitions and "Box_int" in definitions and "Age" in definitions
