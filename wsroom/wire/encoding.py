"""Encoding the app's messages as JSON, values of other libraries too. No I/O and no asyncio here.

Libraries are recognized by their values: none is imported here, so an app that uses none pays for
none.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import orjson

MAX_PAYLOAD = 1024 * 1024

JsonDefault = Callable[[Any], Any]
"""Returns a value that JSON has a form for, or raises TypeError."""

EmitCheck = Callable[[str, str, bytes], None]
"""Checks a payload that is emitted: the concrete path, the event and the payload."""


def to_json(value: Any) -> Any:
    """Convert a value that orjson does not know; the result may contain such values again.

    Pydantic models and msgspec structs become objects with the names of their aliases, attrs
    classes objects of their attributes, decimals and paths strings, and sets arrays.

    Raises:
        TypeError: it is of another type.

    """
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(kind, "__struct_config__"):
        return sys.modules["msgspec"].to_builtins(value, str_keys=True, enc_hook=to_json)
    if hasattr(kind, "__attrs_attrs__"):
        return {each.name: getattr(value, each.name) for each in kind.__attrs_attrs__}
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError("a decimal must be finite")
        return str(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{kind.__name__} has no form in JSON")


def with_default(default: JsonDefault | None) -> JsonDefault:
    """Return a function that converts values by `default`, and by `to_json` if that cannot."""
    if default is None:
        return to_json

    def convert(value: Any) -> Any:
        try:
            return default(value)
        except TypeError:
            return to_json(value)

    return convert


def dump(frame: dict[str, Any], nulls: int, default: JsonDefault) -> bytes:
    """Encode a frame, whose own keys have so many null values.

    Raises:
        TypeError: the message contains a value that JSON cannot represent.
        ValueError: it contains NaN or an infinity, or the payload is over 1 MiB.

    """
    event, message = frame["event"], frame["message"]
    try:
        payload = orjson.dumps(frame, default)
    except TypeError as exc:
        where, reason = _locate(message, default) or ("message", str(exc))
        raise TypeError(f"the message of {event!r} is not JSON: {where}: {reason}") from (
            exc.__cause__
        )
    # orjson writes NaN and the infinities as null, so the values must be checked only if there are
    # more nulls than those of the frame itself.
    if payload.count(b"null") > nulls and (where_nan := _find_nan(message, "message")):
        raise ValueError(
            f"the message of {event!r} contains NaN or an infinity, which JSON does not have: "
            f"{where_nan}"
        )
    if not payload.isascii():
        payload.decode()  # an orjson.Fragment can contain any bytes
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(
            f"the payload of {event!r} has {len(payload)} bytes; at most {MAX_PAYLOAD} are allowed"
        )
    return payload


def compact(payload: bytes) -> bytes:
    """Return a copy of a payload that takes no more memory than it needs, for one that is kept.

    A result of orjson that is short takes the 4 kB that it was written into (orjson 3.13).
    """
    return b"".join((payload, b"")) if len(payload) < 4096 else payload


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the expression that leads to it."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield f"{path}[{key!r}]", child
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield f"{path}[{index}]", child
    elif isinstance(value, (set, frozenset)):
        for child in value:
            yield f"an element of {path}", child
    elif isinstance(value, Enum):
        yield f"{path}.value", value.value
    else:
        for name in _attributes(value):
            yield f"{path}.{name}", getattr(value, name, None)


def _attributes(value: Any) -> list[str]:
    kind = type(value)
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    if hasattr(kind, "__pydantic_serializer__"):
        return [*vars(value), *(value.__pydantic_extra__ or ())]
    if hasattr(kind, "__struct_fields__"):
        return list(kind.__struct_fields__)
    return [each.name for each in getattr(kind, "__attrs_attrs__", ())]


def _find_nan(value: Any, path: str) -> str:
    """Return where a value has NaN or an infinity; "" if it has none."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path
    return next(filter(None, (_find_nan(child, at) for at, child in _children(value, path))), "")


def _locate(message: Any, default: JsonDefault) -> tuple[str, str] | None:
    """Return where the message has a value that cannot be encoded, and why not."""
    path, value = "message", message
    for _ in range(256):  # orjson allows 254 levels
        reason = _problem(value, default)
        if reason is None:
            return None
        inside = next(
            (
                (at, child)
                for at, child in _children(value, path)
                if _problem(child, default) is not None
            ),
            None,
        )
        if inside is None:
            return path, reason
        path, value = inside
    return None


def _problem(value: Any, default: JsonDefault) -> str | None:
    try:
        orjson.dumps(value, default)
    except TypeError as exc:
        return str(exc.__cause__ or exc)
    return None
