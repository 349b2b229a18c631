"""Checks messages against builtin types, without a library. No I/O and no asyncio here.

It is strict, by the rules of JSON: an integer is also a float, nothing else is converted, except
that arrays become tuples and sets, and keys of objects integers, if the annotation says so.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from wsroom.schema.problems import InvalidMessage, Problem, Step

NoneType = type(None)

JSON_TYPES = (str, int, float, bool, NoneType, list, dict)
"""The types of decoded JSON values."""

# One form for each number, so that two keys never become one.
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


class NotPlain(Exception):
    """A type needs a library."""


class Mismatch(Exception):
    """A value does not fit; `steps` lead to it, the last one first."""

    def __init__(self, msg: str, type: str) -> None:
        self.msg = msg
        self.type = type
        self.steps: list[Step] = []


class Check(NamedTuple):
    """How a type is checked."""

    read: Callable[[Any], Any]
    """Returns what the handler gets; raises Mismatch."""
    accepts: tuple[type, ...]
    """The types of JSON values that may fit."""
    expected: str
    json_schema: dict[str, Any]


class PlainSchema:
    """The schema of a type that is made of builtin types.

    Raises:
        NotPlain: it needs a library.

    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        try:
            self._check = check_of(annotation)
        except RecursionError:  # an alias that contains itself
            raise NotPlain from None

    def validate(self, message: object) -> object:
        """Return what the handler gets; raises InvalidMessage."""
        try:
            return self._check.read(message)
        except Mismatch as exc:
            problem = Problem(tuple(reversed(exc.steps)), exc.msg, exc.type)
        raise InvalidMessage([problem])

    def json_schema(self, mode: Literal["validation", "serialization"]) -> dict[str, object]:
        """Return the JSON schema; it is the same in both modes."""
        return deepcopy(self._check.json_schema)


def check_of(kind: Any) -> Check:
    """Return the check of a type; raises NotPlain."""
    while type(kind).__name__ in ("NewType", "TypeAliasType"):
        kind = kind.__supertype__ if hasattr(kind, "__supertype__") else kind.__value__
    if kind is Any or kind is object:
        return Check(lambda value: value, JSON_TYPES, "any value", {})
    if kind is None:
        kind = NoneType
    if isinstance(kind, type) and kind in _SCALARS:
        return _scalar(kind)
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return _literal(args)
    if origin is Union or origin is types.UnionType:
        return _union([check_of(arg) for arg in args])
    if origin is tuple:
        return _tuple(args, bare=not args and not isinstance(kind, types.GenericAlias))
    if origin in _ARRAYS:
        return _array(origin, check_of(args[0] if args else Any))
    if origin in _OBJECTS:
        key, value = args or (str, Any)
        return _object(key, check_of(value))
    raise NotPlain


_SCALARS: Mapping[Any, tuple[str, str]] = {
    str: ("a string", "string"),
    int: ("an integer", "integer"),
    float: ("a number", "number"),
    bool: ("true or false", "boolean"),
    NoneType: ("null", "null"),
}
_ARRAYS = (list, Sequence, set, frozenset)
_OBJECTS = (dict, Mapping)


def _scalar(kind: type) -> Check:
    expected, name = _SCALARS[kind]
    msg, problem = f"must be {expected}", f"{name}_type"

    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise Mismatch(msg, problem)

    def read_float(value: Any) -> float:
        if type(value) is float or type(value) is int:
            return float(value)
        raise Mismatch(msg, problem)

    if kind is float:
        return Check(read_float, (float, int), expected, {"type": name})
    return Check(read, (kind,), expected, {"type": name})


def _literal(values: tuple[Any, ...]) -> Check:
    if not all(type(value) in (str, int, bool, NoneType) for value in values):
        raise NotPlain  # a member of an Enum, or bytes
    allowed = {(type(value), value) for value in values}  # True == 1
    expected = _either(map(_as_json, values))

    def read(value: Any) -> Any:
        if type(value) in (str, int, bool, NoneType) and (type(value), value) in allowed:
            return value
        raise Mismatch(f"must be {expected}", "literal_error")

    accepts = tuple(dict.fromkeys(type(value) for value in values))
    schema = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return Check(read, accepts, expected, schema)


def _as_json(value: object) -> str:
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or type(value) is bool else repr(value)


def _either(names: Iterable[str]) -> str:
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} or {last}" if first else last


def _union(members: list[Check]) -> Check:
    expected = _either(member.expected for member in members)
    by_type: dict[type, list[Callable[[Any], Any]]] = {}
    for kind in JSON_TYPES:
        fitting = [member for member in members if kind in member.accepts]
        # An integer stays one in `float | int`.
        fitting.sort(key=lambda member: kind is int and member.accepts == (float, int))
        if fitting:
            by_type[kind] = [member.read for member in fitting]

    def read(value: Any) -> Any:
        candidates = by_type.get(type(value), ())
        if len(candidates) == 1:
            return candidates[0](value)
        deepest = Mismatch(f"must be {expected}", "union_error")
        for candidate in candidates:
            try:
                return candidate(value)
            except Mismatch as exc:
                if len(exc.steps) > len(deepest.steps):
                    deepest = exc
        raise deepest

    return Check(read, tuple(by_type), expected, {"anyOf": [each.json_schema for each in members]})


def _each(read: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    result: list[Any] = []
    try:
        for value in values:
            result.append(read(value))
    except Mismatch as exc:
        exc.steps.append(len(result))
        raise
    return result


def _array(origin: Any, item: Check) -> Check:
    schema = {"type": "array", "items": item.json_schema}

    def read(value: Any) -> list[Any]:
        if type(value) is list:
            return _each(item.read, value)
        raise Mismatch("must be an array", "list_type")

    def read_set(value: Any) -> Any:
        try:
            return origin(read(value))
        except TypeError:  # not hashable
            raise Mismatch("must not contain arrays or objects", "set_item") from None

    if origin in (set, frozenset):
        return Check(read_set, (list,), "an array", {**schema, "uniqueItems": True})
    return Check(read, (list,), "an array", schema)


def _tuple(args: tuple[Any, ...], *, bare: bool) -> Check:
    if bare or (len(args) == 2 and args[1] is Ellipsis):
        items = _array(list, check_of(Any if bare else args[0]))
        return items._replace(read=lambda value: tuple(items.read(value)))
    checks = [check_of(arg) for arg in args]
    expected = f"an array of {len(checks)} values"

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(checks):
            raise Mismatch(f"must be {expected}", "tuple_type")
        result: list[Any] = []
        try:
            for check, each in zip(checks, value, strict=True):
                result.append(check.read(each))
        except Mismatch as exc:
            exc.steps.append(len(result))
            raise
        return tuple(result)

    size = len(checks)
    schema: dict[str, Any] = {"type": "array", "minItems": size, "maxItems": size}
    if checks:
        schema["prefixItems"] = [check.json_schema for check in checks]
    return Check(read, (list,), expected, schema)


def _object(key: Any, item: Check) -> Check:
    read_key, key_schema = _key(key)

    def read(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise Mismatch("must be an object", "dict_type")
        result: dict[Any, Any] = {}
        name = ""
        try:
            for name, each in value.items():
                result[name if read_key is None else read_key(name)] = item.read(each)
        except Mismatch as exc:
            exc.steps.append(name)
            raise
        return result

    schema = {"type": "object", "additionalProperties": item.json_schema, **key_schema}
    return Check(read, (dict,), "an object", schema)


def _key(kind: Any) -> tuple[Callable[[str], Any] | None, dict[str, Any]]:
    check = check_of(kind)
    if check.json_schema in ({"type": "string"}, {}):
        return None, {}
    if check.json_schema == {"type": "integer"}:
        return _read_integer, {"propertyNames": {"pattern": f"^({INTEGER.pattern})$"}}
    if get_origin(kind) is Literal and check.accepts == (str,):
        return check.read, {"propertyNames": check.json_schema}
    raise NotPlain


def _read_integer(key: str) -> int:
    if INTEGER.fullmatch(key):
        return int(key)
    raise Mismatch("its key must be an integer", "key_type")
