"""Checks what the app sends against the JSON schema that it declares, in debug mode. No I/O here.

It looks at the encoded JSON, as a client does. Keywords that it does not know allow everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from wsroom.schema.schema import Schema, describe

_KINDS: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "string": lambda value: type(value) is str,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}

_SIZES: dict[str, Callable[[Any, Any], bool]] = {
    "minLength": lambda value, limit: type(value) is not str or len(value) >= limit,
    "maxLength": lambda value, limit: type(value) is not str or len(value) <= limit,
    "minItems": lambda value, limit: type(value) is not list or len(value) >= limit,
    "maxItems": lambda value, limit: type(value) is not list or len(value) <= limit,
}


def check_payload(payload: bytes, schema: Schema, what: str) -> None:
    """Raise ValueError if the message of an encoded frame does not fit a schema.

    Args:
        payload: a server's frame.
        schema: of its message.
        what: "the message of 'said'", for the sentence of the error.

    """
    json_schema = schema.json_schema("serialization")
    check = _Conformity(json_schema.get("$defs", {}))
    message = orjson.loads(payload)["message"]
    if reason := check.mismatch(message, json_schema, "message"):
        raise ValueError(f"{what} is not {describe(schema.annotation)}, as declared: {reason}")


class _Conformity:
    def __init__(self, definitions: Any) -> None:
        self._definitions = definitions

    def mismatch(self, value: Any, schema: Any, at: str) -> str:
        """Return what does not fit, and where; "" if all fits."""
        if not isinstance(schema, dict):
            return "" if schema else f"{at} is not allowed"
        return next(filter(None, self._reasons(value, schema, at)), "")

    def _reasons(self, value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            yield self.mismatch(value, self._definitions.get(name, {}), at)
        if "type" in schema:
            names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            if not any(_KINDS[name](value) for name in names):
                yield f"{at} is not {' or '.join(names)}"
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if allowed is not None and not any(_same(value, each) for each in allowed):
            yield f"{at} is none of {allowed}"
        for keyword, fits in _SIZES.items():
            if keyword in schema and not fits(value, schema[keyword]):
                yield f"{at} does not have {keyword} {schema[keyword]}"
        for part in schema.get("allOf", ()):
            yield self.mismatch(value, part, at)
        yield self._union(value, schema.get("anyOf") or schema.get("oneOf"), at)
        if isinstance(value, dict):
            yield from self._object(value, schema, at)
        if isinstance(value, list):
            yield from self._array(value, schema, at)

    def _union(self, value: Any, members: Any, at: str) -> str:
        if not members:
            return ""
        reasons = [self.mismatch(value, member, at) for member in members]
        if "" in reasons:
            return ""
        # The member that the value is meant for is probably the one that it fits the furthest.
        return max(reasons, key=lambda reason: reason.count("["))

    def _object(self, value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{at} has no {name!r}"
        properties = schema.get("properties", {})
        rest = {} if "patternProperties" in schema else schema.get("additionalProperties", {})
        for name, each in value.items():
            yield self.mismatch(each, properties.get(name, rest), f"{at}[{name!r}]")

    def _array(self, value: list[Any], schema: dict[str, Any], at: str) -> Iterator[str]:
        prefix = schema.get("prefixItems", ())
        for index, each in enumerate(value):
            item = prefix[index] if index < len(prefix) else schema.get("items", {})
            yield self.mismatch(each, item, f"{at}[{index}]")


def _same(value: Any, allowed: Any) -> bool:
    return type(value) is type(allowed) and bool(value == allowed)
