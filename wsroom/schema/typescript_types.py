"""JSON Schemas as types of TypeScript. No I/O and no asyncio here.

A type accepts every value that its schema does. What TypeScript cannot say (lengths, patterns,
`not`) makes it wider, and what nothing is known about is `unknown`. One thing is narrower: an
object without `additionalProperties` has no other keys, so that a misspelt one does not compile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from wsroom.schema.contract import JsonSchema
from wsroom.schema.json_schema import PREFIX, Definitions, circular, target_of

UNKNOWN, NEVER = "unknown", "never"
EMPTY = "{ [key: string]: never }"
"""An object without keys; `{}` would accept all but null."""

_PRIMITIVES = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
_LITERALS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}


class Types:
    """Writes schemas as types; those of `definitions` are written as their names."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._circular = circular(definitions)

    def of(self, schema: JsonSchema | None) -> str:
        """Return the type of a schema; `unknown` for None."""
        if schema is None:
            return UNKNOWN
        if isinstance(schema, bool):
            return UNKNOWN if schema else NEVER
        parts = [self._own(schema)]
        if "$ref" in schema:
            parts.append(schema["$ref"].removeprefix(PREFIX))
        parts += [self.of(each) for each in schema.get("allOf", ())]
        if "anyOf" in schema:
            parts.append(_union(self.of(each) for each in schema["anyOf"]))
        if "oneOf" in schema:
            parts.append(_union(self._tagged(each, schema) for each in schema["oneOf"]))
        return _intersection(parts)

    def define(self, name: str) -> str:
        """Return the type of a definition."""
        # A type that is itself, and nothing between, would be an error.
        return UNKNOWN if name in self._circular else self.of(self._definitions[name])

    # -- one schema, without what it refers to -------------------------------------------------

    def _own(self, schema: dict[str, Any]) -> str:
        kinds = schema.get("type")
        allowed = None if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            fitting = [each for each in values if allowed is None or _fits(each, allowed)]
            return _union(map(literal, fitting))
        if allowed is None:
            return UNKNOWN
        return _union(self._of_kind(kind, schema) for kind in allowed)

    def _of_kind(self, kind: str, schema: dict[str, Any]) -> str:
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        return _PRIMITIVES.get(kind, UNKNOWN)

    def _array(self, schema: dict[str, Any]) -> str:
        items, first = schema.get("items", True), schema.get("prefixItems")
        if isinstance(items, list):  # before the draft 2020-12
            items, first = schema.get("additionalItems", True), items
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if not first:
            return "[]" if items is False or most == 0 else f"{_group(self.of(items))}[]"
        if most is not None:
            first = first[:most]
        written = [
            self.of(each) if index < least else f"{_group(self.of(each))}?"
            for index, each in enumerate(first)
        ]
        if items is not False and (most is None or most > len(first)):
            written.append(f"...{_group(self.of(items))}[]")
        return f"[{', '.join(written)}]"

    def _object(self, schema: dict[str, Any]) -> str:
        properties = schema.get("properties")
        patterns = schema.get("patternProperties", {})
        rest = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
        required = schema.get("required", [])
        others = [self.of(each) for each in patterns.values() if each is not False]
        if isinstance(rest, dict) or rest is True or (properties is None and not patterns):
            others += [] if rest is False else [self.of(True if rest is None else rest)]
        known = {name: self.of(each) for name, each in (properties or {}).items()}
        for name in required:
            known.setdefault(name, _union(others) if others else UNKNOWN)
        if not known and not others:
            return EMPTY
        optional = set(known) - set(required)
        lines = [
            f"{doc}{key(name)}{'?' if name in optional else ''}: {value};"
            for name, value in known.items()
            for doc in [jsdoc((properties or {}).get(name, True))]
        ]
        if others:
            # TypeScript asks that the type of all keys includes those of the known ones.
            every = [*others, *known.values(), *(["undefined"] if optional else [])]
            lines.append(f"[key: string]: {_union(every)};")
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{{\n  {body}\n}}"

    def _tagged(self, schema: JsonSchema, union: dict[str, Any]) -> str:
        # The tag of a member may have a default, but a message must contain it.
        written = self.of(schema)
        tag = (union.get("discriminator") or {}).get("propertyName")
        target = target_of(schema, self._definitions)
        if tag is None or isinstance(target, bool) or tag not in target.get("properties", {}):
            return written
        if tag in target.get("required", ()):
            return written
        return f"({written} & {{ {key(tag)}: {self.of(target['properties'][tag])} }})"


def literal(value: Any) -> str:
    """Return the type of one value of JSON."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        fields = (f"{key(name)}: {literal(each)}" for name, each in value.items())
        return f"{{ {'; '.join(fields)} }}" if value else EMPTY
    return json.dumps(value)


def _fits(value: Any, kinds: list[str]) -> bool:
    if isinstance(value, list | dict):
        return ("array" if isinstance(value, list) else "object") in kinds
    return any(_PRIMITIVES.get(kind) == _LITERALS[type(value)] for kind in kinds)


def _union(types: Iterable[str]) -> str:
    written = list(dict.fromkeys(types))
    if UNKNOWN in written:
        return UNKNOWN
    members = [each for each in written if each != NEVER]
    return " | ".join(members) or NEVER


def _intersection(types: Iterable[str]) -> str:
    written = list(dict.fromkeys(each for each in types if each != UNKNOWN))
    if NEVER in written:
        return NEVER
    if len(written) > 1 and EMPTY in written:
        written.remove(EMPTY)  # a model without fields, of which another one inherits
    return " & ".join(map(_group, written) if len(written) > 1 else written) or UNKNOWN


def _group(written: str) -> str:
    plain = re.fullmatch(r"\w+(\[\])*", written) or (
        written[0] in '"[{' and "|" not in written and "&" not in written
    )
    return written if plain else f"({written})"


def key(name: str) -> str:
    """Return a name as the key of an object, in quotes if it is not an identifier."""
    return name if re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", name) else json.dumps(name)


def jsdoc(schema: JsonSchema) -> str:
    """Return a schema's description, default and deprecation as a comment; "" without any."""
    if isinstance(schema, bool):
        return ""
    lines = str(schema.get("description", "")).strip().splitlines()
    if "default" in schema and schema["default"] is not None:
        lines.append(f"@default {json.dumps(schema['default'], default=repr)}")
    if schema.get("deprecated") is True:
        lines.append("@deprecated")
    lines = [line.rstrip().replace("*/", "*\\/") for line in lines]
    if len(lines) < 2:
        return f"/** {lines[0]} */\n" if lines else ""
    return "".join(["/**\n", *(f" * {line}".rstrip() + "\n" for line in lines), " */\n"])
