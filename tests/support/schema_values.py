"""Values that a JSON schema accepts, and changed ones that it does not: from a seed."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator

from wsroom.schema.contract import JsonSchema
from wsroom.schema.subschemas import map_parts, resolve

DEPTH = 4
"""Optional parts are left out below it, so that values of recursive schemas end."""
OTHERS: tuple[Any, ...] = ("zz", 424242, True, None, [], {}, {"zz": 1}, ["zz", 424242, None])
"""What a part of a value is replaced by."""
ANYTHING: tuple[Any, ...] = ("anything", 5, None, {"deep": [True]})
TEXTS = ("", "abc", "1.5", "2026-01-02T03:04:05Z", "9b9d5f6a-8c2f-4c3e-9d0a-1f2e3d4c5b6a")
BEYOND_TYPES = frozenset(
    "format pattern minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum "
    "multipleOf uniqueItems propertyNames contains not if then else default".split()
)


def validator_of(schema: JsonSchema) -> Callable[[Any], bool]:
    """Return a function that says whether a value is valid."""
    old = isinstance(schema, dict) and isinstance(schema.get("items"), list)
    return (Draft7Validator if old else Draft202012Validator)(schema).is_valid


def valid_values(schema: JsonSchema, count: int, seed: int) -> list[Any]:
    """Return up to `count` values that the schema accepts, without keys that it does not name."""
    accepts, accepts_typed = validator_of(schema), validator_of(typed_schema(schema))
    values = (
        _Maker(schema, random.Random(f"{seed}.{n}")).make(schema, 0) for n in range(8 * count)
    )
    found = [value for value in values if accepts(value) and accepts_typed(value)]
    different = [value for n, value in enumerate(found) if value not in found[:n]]
    return different[:count]


def invalid_values(schema: JsonSchema, value: Any, seed: int, most: int) -> Iterator[Any]:
    """Change a value in one place; yield up to `most` that no type of the schema can accept."""
    accepts, changed = validator_of(typed_schema(schema)), list(_changed(value))
    random.Random(seed).shuffle(changed)
    yield from itertools.islice((each for each in changed if not accepts(each)), most)


def _changed(value: Any) -> Iterator[Any]:
    yield from (copy.deepcopy(other) for other in OTHERS if other != value)
    if isinstance(value, dict):
        yield {**value, "zzUnknown": 1}
        for name, part in value.items():
            yield {other: each for other, each in value.items() if other != name}
            yield from ({**value, name: changed} for changed in _changed(part))
    if isinstance(value, list):
        yield [*value, 424242]
        yield value[:-1]
        for index, part in enumerate(value):
            yield from ([*value[:index], each, *value[index + 1 :]] for each in _changed(part))


def typed_schema(schema: JsonSchema) -> JsonSchema:
    """Return what a type can say of a schema: objects are closed, and there are no limits."""
    return _closed(_loose(schema))


def _loose(schema: JsonSchema) -> JsonSchema:
    if isinstance(schema, bool):
        return schema
    new = map_parts(schema, _loose)
    if "$defs" in new:
        new["$defs"] = {name: _loose(each) for name, each in new["$defs"].items()}
    for key in BEYOND_TYPES & set(new):
        del new[key]
    if isinstance(new.get("items"), list):
        new["prefixItems"], new["items"] = new["items"], new.pop("additionalItems", True)
    if "prefixItems" not in new:
        new.pop("minItems", None)
        new.pop("maxItems", None)
    if new.get("type") == "object" and "properties" not in new:
        if patterns := new.pop("patternProperties", None):
            new["additionalProperties"] = {"anyOf": list(patterns.values())}
        new.setdefault("additionalProperties", True)
    return {key: _place(key, value) for key, value in new.items()}


def _place(key: str, value: Any) -> Any:
    # Where a value is, as opposed to a part of a combination, other keys are not accepted.
    if key in ("properties", "patternProperties"):
        return {name: _closed(each) for name, each in value.items()}
    if key == "prefixItems":
        return [_closed(each) for each in value]
    return _closed(value) if key in ("items", "additionalProperties") else value


def _closed(schema: JsonSchema) -> JsonSchema:
    if isinstance(schema, bool) or not schema.keys() & _SAY_SOMETHING:
        return schema
    return {"unevaluatedProperties": False, **schema}


_SAY_SOMETHING = {"$ref", "allOf", "anyOf", "oneOf", "properties"}


class _Maker:
    """Makes values; some of them fit only by chance, so they are checked."""

    def __init__(self, root: JsonSchema, chooser: random.Random) -> None:
        self._root = root
        self._chooser = chooser

    def make(self, schema: JsonSchema, depth: int) -> Any:
        value = self._part(schema, depth)
        return self._chooser.choice(ANYTHING) if value is _NOTHING else value

    def _part(self, schema: JsonSchema, depth: int) -> Any:
        if isinstance(schema, bool):
            return _NOTHING
        parts = [self._own(schema, depth)]
        if "$ref" in schema and depth < 50:
            parts.append(self._part(resolve(self._root, schema["$ref"]), depth + 1))
        parts += [self._part(each, depth) for each in schema.get("allOf", ())]
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                parts.append(self._one_of(schema[key], schema, depth))
        said = [part for part in parts if part is not _NOTHING]
        if said and all(isinstance(part, dict) for part in said):
            return {name: value for part in said for name, value in part.items()}
        return said[-1] if said else _NOTHING

    def _one_of(self, choices: list[Any], schema: dict[str, Any], depth: int) -> Any:
        if depth >= DEPTH and {"type": "null"} in choices:
            return None
        choice = self._chooser.choice(choices)
        value = self._part(choice, depth)
        tag = schema.get("discriminator", {}).get("propertyName")
        if tag and isinstance(value, dict):
            target = resolve(self._root, choice["$ref"])
            value[tag] = self.make(target["properties"][tag], depth)
        return value

    def _own(self, schema: dict[str, Any], depth: int) -> Any:
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return copy.deepcopy(self._chooser.choice(schema["enum"]))
        kinds = schema.get("type")
        if kinds is None:
            return self._object(schema, depth) if "properties" in schema else _NOTHING
        kind = self._chooser.choice(kinds) if isinstance(kinds, list) else kinds
        make = {"object": self._object, "array": self._array}.get(kind)
        return make(schema, depth) if make else self._plain(kind)

    def _plain(self, kind: str) -> Any:
        return {
            "string": self._chooser.choice(TEXTS),
            "integer": self._chooser.choice([0, 1, 7]),
            "number": self._chooser.choice([0, 1.5, 7]),
            "boolean": self._chooser.random() < 0.5,
        }.get(kind)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        value = {
            name: self.make(each, depth + 1)
            for name, each in schema.get("properties", {}).items()
            if each is not False
            and (name in required or (depth < DEPTH and self._chooser.random() < 0.6))
        }
        for name in sorted(set(required) - set(value)):
            value[name] = self.make(schema.get("additionalProperties", True), depth + 1)
        rest = schema.get("additionalProperties", False)
        rests = [*schema.get("patternProperties", {}).values(), *([rest] if rest else [])]
        for name in ("abc", "x-y") if rests and depth < DEPTH else ():
            value[name] = self.make(self._chooser.choice(rests), depth + 1)
        return value

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        items, first = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):
            items, first = schema.get("additionalItems", True), items
        least, most = schema.get("minItems", 0), schema.get("maxItems", 9)
        end = least if depth >= DEPTH else max(least, len(first))
        value = [self.make(each, depth + 1) for each in first[:end]]
        if items is not False and depth < DEPTH:
            end = max(least, min(most, len(first) + self._chooser.choice([0, 1, 2])))
        return value + [self.make(items, depth + 1) for _ in range(len(value), end)]


class _Nothing:
    """A schema that says nothing about the value itself."""


_NOTHING = _Nothing()
