"""The parts of a JSON Schema, and the references in it. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from wsroom.schema.contract import JsonSchema

_ONE = frozenset(
    "additionalItems additionalProperties contains contentSchema else if items not propertyNames "
    "then unevaluatedItems unevaluatedProperties".split()
)
_LIST = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
_NAMED = frozenset(("dependencies", "dependentSchemas", "patternProperties", "properties"))
_DEFINITIONS = ("$defs", "definitions")


def map_parts(schema: dict[str, Any], change: Callable[[Any], JsonSchema]) -> dict[str, Any]:
    """Return a schema whose direct subschemas are changed: not the values that look like one."""
    return {key: _map_part(key, value, change) for key, value in schema.items()}


def is_deeper(schema: JsonSchema, depth: int) -> bool:
    """Whether a schema has more than so many levels; its definitions do not count."""
    level = [schema]
    while level and depth:
        depth -= 1
        level = [part for each in level for part in _parts(each)]
    return bool(level)


def _parts(schema: JsonSchema) -> list[JsonSchema]:
    found: list[JsonSchema] = []

    def keep(part: JsonSchema) -> JsonSchema:
        found.append(part)
        return part

    if isinstance(schema, dict):
        map_parts(schema, keep)
    return found


def _map_part(key: str, value: Any, change: Callable[[Any], JsonSchema]) -> Any:
    if key in _ONE and isinstance(value, dict | bool):
        return change(value)
    if key in _LIST and isinstance(value, list):
        return [change(each) for each in value]
    if key in _NAMED and isinstance(value, dict):
        return {
            name: change(each) if isinstance(each, dict | bool) else each
            for name, each in value.items()
        }
    return value


def rewrite(schema: JsonSchema, rename: Callable[[str], str]) -> JsonSchema:
    """Return a schema without its definitions, whose references are renamed."""
    if isinstance(schema, bool):
        return schema
    own = {key: value for key, value in schema.items() if key not in _DEFINITIONS}
    new = map_parts(own, lambda part: rewrite(part, rename))
    if isinstance(new.get("$ref"), str):
        new["$ref"] = rename(new["$ref"])
    discriminator = new.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
        mapping = {
            value: rename(ref) if ref.startswith("#") else ref
            for value, ref in discriminator["mapping"].items()
        }
        new["discriminator"] = {**discriminator, "mapping": mapping}
    return new


def resolve(schema: Any, ref: str) -> Any:
    """Follow a reference into a schema, like "#/$defs/Card"; None if nothing is there."""
    start, _, pointer = ref.partition("#")
    if start or (pointer and not pointer.startswith("/")):
        return None
    found = schema
    for part in unquote(pointer).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        else:
            return None
    return found
