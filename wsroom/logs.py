"""What log lines are about, and how often they are repeated. No I/O and no asyncio here."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable

_VALUE = re.compile(r"(?<==)[^&\s]+")


def about(
    *, path: str = "", room: str = "", event: str = "", socket_id: str = ""
) -> dict[str, str]:
    """Return the `extra` of a log line, with what is known: attributes of its record.

    A socket's id begins with the name of its worker, which is added as `worker`.
    """
    worker = socket_id.partition(".")[0]
    known = {"path": path, "room": room, "event": event, "socket_id": socket_id, "worker": worker}
    return {name: value for name, value in known.items() if value}


class MaskQuery(logging.Filter):
    """Masks the values in query strings of log lines, since they may be tokens.

    Browsers cannot send headers with a WebSocket, so many apps take a token from the query string,
    and uvicorn logs the URL of each WebSocket and request. `/ws?token=abc` becomes
    `/ws?token=***`, in arguments of the line that are URLs or paths.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the arguments of `record`; returns True, so that it is logged."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_masked, record.args))
        return True


def _masked(argument: object) -> object:
    if not isinstance(argument, str) or not re.match(r"/|\w+://", argument):
        return argument
    url, question_mark, query = argument.partition("?")
    return url + question_mark + _VALUE.sub("***", query)


class LogOnce:
    """Decides whether a line that concerns a key is logged: the first time, or at intervals.

    Its memory is bounded: once it knows `most` keys, lines about other keys are not logged.

    Args:
        most: how many keys it remembers.
        again_after: seconds after which a line about the same key is logged again; None: never.

    """

    def __init__(self, *, most: int = 100, again_after: float | None = None) -> None:
        self._most = most
        self._again_after = again_after
        self._logged_at: dict[Hashable, float] = {}

    def due(self, key: Hashable = None, now: float = 0.0) -> bool:
        """Return whether to log now, and remember that it was; `now` in seconds of any clock."""
        logged_at = self._logged_at.get(key)
        if logged_at is None:
            if len(self._logged_at) >= self._most:
                return False
        elif self._again_after is None or now - logged_at < self._again_after:
            return False
        self._logged_at[key] = now
        return True

    def reset(self, key: Hashable = None) -> bool:
        """Forget the key, so that the next line is logged; return whether one had been."""
        return self._logged_at.pop(key, None) is not None
