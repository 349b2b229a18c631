"""Patterns of names: paths like `/ws/{tenant}`, rooms like `order:{id}`.

No I/O and no asyncio here.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

from wsroom.errors import SetupError

_PARAMETER = re.compile(r"\{([^{}]*)\}")


class Pattern:
    """A name in which each `{parameter}` matches one or more characters except the separator.

    Raises:
        SetupError: a parameter is not an identifier or occurs twice, or a brace is unmatched.

    """

    def __init__(self, text: str, separator: str) -> None:
        self.text = text
        self.names = tuple(_PARAMETER.findall(text))
        """The parameters, from left to right."""
        self.shape = _PARAMETER.sub("{}", text)
        """The pattern without the names of its parameters: equal shapes match the same names."""
        literals = _PARAMETER.split(text)[::2]
        for name in self.names:
            if not name.isidentifier():
                raise SetupError(f"parameter {{{name}}} in {text!r} is not a Python identifier")
        if len(set(self.names)) < len(self.names):
            raise SetupError(f"{text!r} has a parameter twice; give each its own name")
        if any("{" in literal or "}" in literal for literal in literals):
            raise SetupError(f"{text!r} has an unmatched brace")
        value = f"([^{re.escape(separator)}]+)"
        self._match = re.compile(value.join(map(re.escape, literals)), re.DOTALL).fullmatch
        self.rank = tuple("{}" in part for part in self.shape.split(separator)), -len(self.shape)
        """Sorts the more specific pattern first: a fixed part before a parameter."""

    def match(self, text: str) -> dict[str, str] | None:
        """Return the values of the parameters if the whole of `text` matches, else None."""
        found = self._match(text)
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))


class HasPattern(Protocol):
    """What is found by a pattern: a route, or a guard."""

    @property
    def pattern(self) -> Pattern: ...


Found = TypeVar("Found", bound=HasPattern)


def ranked(table: dict[str, Found]) -> dict[str, Found]:
    """Sort a table at a registration, so that a look-up takes the first match."""
    return dict(sorted(table.items(), key=lambda item: item[1].pattern.rank))
