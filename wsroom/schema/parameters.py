"""The values of parameters in paths and in the names of rooms, by their types. No I/O here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, get_origin
from uuid import UUID

from wsroom.errors import SetupError
from wsroom.schema.plain import INTEGER
from wsroom.schema.schema import describe


class Parameter(NamedTuple):
    """A parameter of a pattern, and its type: str, int, UUID or a Literal."""

    annotation: Any
    expected: str
    read: Callable[[str], Any]
    """Returns the value; raises ValueError.

    Only one text is read as a value, because another one is another path or another room: "5",
    but not "05".
    """
    json_schema: dict[str, object]


def parameter_of(annotation: Any, owner: str) -> Parameter:
    """Return the parameter of a type.

    Args:
        annotation: the type; Any and object are read as str.
        owner: what has it, for the sentence of the error.

    Raises:
        SetupError: it is of another type.

    """
    if annotation in (str, Any, object):
        return Parameter(annotation, "a string", str, {"type": "string"})
    if annotation is int:
        return Parameter(int, "an integer", _read_integer, {"type": "integer"})
    if annotation is UUID:
        return Parameter(UUID, "a UUID", _read_uuid, {"type": "string", "format": "uuid"})
    values = get_args(annotation)
    if get_origin(annotation) is Literal and all(type(each) in (str, int) for each in values):
        by_text = {str(value): value for value in values}
        expected = f"one of {', '.join(by_text)}"
        return Parameter(annotation, expected, _reader(by_text), {"enum": list(values)})
    raise SetupError(
        f"{owner} is {describe(annotation)}; annotate it with str, int, UUID or a Literal of them"
    )


def _read_integer(text: str) -> int:
    if INTEGER.fullmatch(text) is None:
        raise ValueError
    return int(text)


def _read_uuid(text: str) -> UUID:
    value = UUID(text)
    if str(value) != text:
        raise ValueError
    return value


def _reader(by_text: dict[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError
        return by_text[text]

    return read
