"""Why the server did not do what it was asked, and what may be asked again."""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)


class Lost(RedisError):
    """The connection ended before the answer came; whether it was carried out is not known."""


PASSING = (
    *(Lost, NoScriptError, MovedError, AskError, TryAgainError),
    *(ClusterDownError, MasterDownError, ReadOnlyError),
)
"""What may be over in a moment: these are tried again, for as long as there is patience."""


def is_passing(answer: object) -> bool:
    """Whether the server's refusal may be over in a moment."""
    if isinstance(answer, PASSING):
        return True
    return isinstance(answer, ResponseError) and str(answer).startswith("WSROOM")
