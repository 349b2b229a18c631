"""Which refusals of a server are temporary, so that the command can be sent again."""

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


class ConnectionBroken(RedisError):
    """The connection ended before the answer arrived; the command may have been executed."""


RETRYABLE = (
    *(ConnectionBroken, NoScriptError, MovedError, AskError, TryAgainError),
    *(ClusterDownError, MasterDownError, ReadOnlyError),
)
"""Refusals that may be over in a moment: the command is sent again until its time is up."""

RETRYABLE_PREFIX = "WSROOM"
"""How the error replies of scripts begin that ask to be sent again."""


def is_retryable(answer: object) -> bool:
    """Return whether the server's refusal may be over in a moment."""
    if isinstance(answer, RETRYABLE):
        return True
    return isinstance(answer, ResponseError) and str(answer).startswith(RETRYABLE_PREFIX)
