"""What a message must be like. No I/O and no asyncio here."""

from __future__ import annotations

from typing import Any, Literal, Protocol

Mode = Literal["validation", "serialization"]


class Schema(Protocol):
    """What a message must be like."""

    annotation: Any

    def validate(self, message: object) -> object:
        """Return what the handler gets for a decoded JSON value.

        Raises:
            InvalidMessage: it does not fit.

        """

    def json_schema(self, mode: Mode) -> dict[str, object]:
        """Return the type as JSON Schema 2020-12, with the types that it names in "$defs".

        Args:
            mode: "validation" for what a client sends, "serialization" for what it gets.

        """


def describe(annotation: Any) -> str:
    """Return a type as it is written."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
