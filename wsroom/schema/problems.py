"""Why a message of a client is invalid, within limits. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from wsroom.errors import ProtocolError
from wsroom.wire.protocol import sanitize

MAX_PROBLEMS = 10
"""Problems that are reported to a client."""
MAX_TEXT = 100
"""Characters of each string in a problem."""
MAX_DATA = 8000
"""Bytes of all problems together."""
TOO_MANY = 100
"""More problems than this are not described: to describe them takes longer than to find them."""

Step = str | int
"""A key of an object, or an index of an array."""


class Problem(NamedTuple):
    """One reason why a message is invalid."""

    loc: tuple[Step, ...]
    """The way from the message to the value; "*" is a key that the library does not name."""
    msg: str
    type: str
    """For programs: the library's name of this kind of problem."""


class InvalidMessage(ProtocolError):
    """A client's message does not fit the annotation of its handler.

    Args:
        problems: at least one.
        count: how many problems there are; None if `problems` are all.

    """

    def __init__(self, problems: Sequence[Problem], count: int | None = None) -> None:
        count = len(problems) if count is None else count
        super().__init__("invalid_message", _sentence(problems[0], count), data=_data(problems))


def too_many(count: int) -> InvalidMessage:
    """Return the exception for a message with more problems than are described."""
    problem = Problem((), f"more than {TOO_MANY} values are invalid", "too_many_errors")
    return InvalidMessage([problem], 1)


def existing_steps(loc: Sequence[object], message: object, *, missing: bool) -> tuple[Step, ...]:
    """Return the steps of a library's location that exist in the message.

    Libraries also name the members of unions, and functions, on the way to a value.

    Args:
        loc: the location.
        message: the client's message.
        missing: whether the last step is the name of a key that the message should have.

    """
    steps: list[Step] = []
    value = message
    for position, step in enumerate(loc, 1):
        if isinstance(value, dict) and str(step) in value:
            steps.append(str(step))
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            steps.append(step)
            value = value[step]
        elif missing and position == len(loc) and isinstance(step, str):
            steps.append(step)
    return tuple(steps)


def _sentence(first: Problem, count: int) -> str:
    place = _cut(".".join(map(str, first.loc))) + ": " if first.loc else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"the message is invalid: {place}{_cut(first.msg)}{more}"


def _cut(text: str) -> str:
    return sanitize(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")


def _data(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = []
    size = 0
    for problem in problems[:MAX_PROBLEMS]:
        loc = [_cut(step) if isinstance(step, str) else step for step in problem.loc]
        entry = {"loc": loc, "msg": _cut(problem.msg), "type": _cut(problem.type)}
        while loc and len(orjson.dumps(entry)) > MAX_DATA:
            del loc[len(loc) // 2 :]
        size += len(orjson.dumps(entry)) + 1
        if size > MAX_DATA:
            break
        data.append(entry)
    return data
