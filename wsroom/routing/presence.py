"""The functions that make the cards of members. No I/O and no asyncio here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wsroom.errors import SetupError
from wsroom.routing.callbacks import Callback, parameters_of, read_room_values
from wsroom.routing.patterns import Pattern
from wsroom.schema.declared import card_schema
from wsroom.schema.parameters import Parameter
from wsroom.schema.schema import Schema

MOST_GRACE = 3600.0


class CardMaker(NamedTuple):
    """The function that makes the cards of the members of the rooms of a pattern."""

    pattern: Pattern
    callback: Callback
    parameters: Mapping[str, Parameter]
    """The parameters of the pattern that it takes."""
    grace: float
    """Seconds for which a member stays after its connection was lost."""
    schema: Schema | None = None
    """The type of the cards; None if it is not known."""

    @classmethod
    def of(cls, function: Callable[..., Any], pattern: Pattern, grace: float) -> CardMaker:
        """Check the function's arguments and the number.

        Raises:
            SetupError: the function cannot be called with them, the number is invalid, or the
                annotation of what it returns has no JSON schema.

        """
        number = isinstance(grace, int | float) and math.isfinite(grace)
        if not number or not 0 <= grace <= MOST_GRACE:
            raise SetupError(f"grace is {grace!r}; use seconds, from 0 to {MOST_GRACE:g}")
        for name in {"socket", "room"} & set(pattern.names):
            raise SetupError(
                f"parameter {{{name}}} in {pattern.text!r} has the name of an argument of every "
                "presence function; use another name"
            )
        role = f"make the cards of {pattern.text!r}"
        parameters = parameters_of(function, pattern, ("socket", "room"), role)
        callback = Callback.of(function, "socket")
        return cls(pattern, callback, parameters, grace, card_schema(function))

    def read(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return what the function gets for the values of the pattern.

        Raises:
            ProtocolError: `bad_room`: a value is not of the annotated type.

        """
        return read_room_values(self.parameters, values)
