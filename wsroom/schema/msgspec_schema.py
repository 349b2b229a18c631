"""Checks messages with msgspec. It is imported for a type that needs it. No I/O here."""

from __future__ import annotations

import re
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any

import msgspec
import orjson

from wsroom.schema.libraries import types_in
from wsroom.schema.problems import InvalidMessage, Problem, Step
from wsroom.schema.schema import Mode

# The end of an error's text: "Expected `int`, got `str` - at `$.kids[1].name`".
_PLACE = re.compile(r"(.*) - at (`key` in )?`\$(.*)`", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_INDEX = re.compile(r"\[([0-9]+)\]")
_END = re.compile(r"[.\[]")
_ANY_KEY = "[...]"

_UNKNOWN = object()


class MsgspecSchema:
    """The schema of a type that msgspec checks."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        # Faster than msgspec.convert, which reads most annotations again for each message.
        self._decode = msgspec.json.Decoder(annotation).decode

    def validate(self, message: object) -> object:
        """Return what the handler gets; raises InvalidMessage."""
        try:
            return self._decode(orjson.dumps(message))
        except msgspec.ValidationError as exc:
            problem = read_problem(str(exc), message)
        raise InvalidMessage([problem])

    def json_schema(self, mode: Mode) -> dict[str, object]:
        """Return msgspec's JSON schema; for serialization, fields with defaults are required."""
        schema = msgspec.json.schema(self.annotation)
        if mode == "serialization":
            _require_defaults(schema, self.annotation)
        return schema


def read_problem(text: str, message: object) -> Problem:
    """Return the problem that the text of msgspec's error describes."""
    place = _PLACE.fullmatch(text)
    steps: list[Step] = []
    value = message
    if place is not None:
        text, key, path = place.groups()
        steps, value = _walk(path, message)
        if key:
            steps.append("*")
    if (field := _FIELD.fullmatch(text)) is None:
        return Problem(tuple(steps), text, "invalid")
    verb, name = field.groups()
    if verb == "missing required":
        return Problem((*steps, name), text, "missing")
    if isinstance(value, dict) and name in value:
        steps.append(name)
    return Problem(tuple(steps), text, "extra_forbidden")


def _walk(path: str, message: object) -> tuple[list[Step], object]:
    """Return the steps of a path that exist in the message, and the value that they lead to."""
    steps: list[Step] = []
    value = message
    while path:
        step, path = _next_step(path, value)
        if step == "*" or value is _UNKNOWN:
            value = _UNKNOWN
        elif isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            break
        steps.append(step)
    return steps, value


def _next_step(path: str, value: object) -> tuple[Step, str]:
    if path.startswith(_ANY_KEY):
        return "*", path[len(_ANY_KEY) :]
    if index := _INDEX.match(path):
        return int(index[1]), path[index.end() :]
    # A field's name may have dots and brackets in it, so the keys of the message decide.
    keys = value if isinstance(value, dict) else ()
    fitting = [key for key in keys if path.startswith("." + key)]
    ends = [key for key in fitting if path[1 + len(key) :][:1] in ("", ".", "[")]
    name = max(ends, key=len, default=_END.split(path[1:], 1)[0])
    return name, path[1 + len(name) :]


def _require_defaults(schema: dict[str, Any], annotation: Any) -> None:
    # msgspec describes what it accepts; it encodes fields with defaults, too.
    objects = [schema, *schema.get("$defs", {}).values()]
    for kind in types_in(annotation):
        if isinstance(kind, type) and (names := _encoded_names(kind)):
            for found in objects:
                properties = found.get("properties", {})
                if _is_of(found, kind) and names <= set(properties):
                    always = names | set(found.get("required", ()))
                    found["required"] = [name for name in properties if name in always]


def _is_of(found: dict[str, Any], kind: type) -> bool:
    return str(found.get("title", "")).partition("[")[0] == kind.__name__


def _encoded_names(kind: Any) -> set[str]:
    """Return the names of the fields that are in every encoding of a class."""
    if hasattr(kind, "__struct_config__"):
        if kind.__struct_config__.omit_defaults:
            return set()
        fields = msgspec.structs.fields(kind)
        return {field.encode_name for field in fields if field.default is not msgspec.UNSET}
    if is_dataclass(kind):
        return {field.name for field in dataclass_fields(kind)}
    return {each.name for each in getattr(kind, "__attrs_attrs__", ())}
