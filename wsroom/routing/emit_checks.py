"""In debug mode: what the app emits, against what it declares. No I/O and no asyncio here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from wsroom.logs import LogOnce, about
from wsroom.routing.route import Route
from wsroom.schema.conformity import check_payload

logger = logging.getLogger("wsroom")


class EmitChecks:
    """Checks messages that are emitted.

    Args:
        find: returns the route of a concrete path.

    """

    def __init__(self, find: Callable[[str], tuple[Route, Any] | None]) -> None:
        self._find = find
        self._undeclared = LogOnce()

    def __call__(self, path: str, event: str, payload: bytes) -> None:
        """Raise ValueError if a message is not of the type that `emits` declares.

        Log once for each event that a path does not declare, if it declares any.
        """
        found = self._find(path)
        if found is None or not (emits := found[0].emits):
            return
        route = found[0].pattern.text
        declared = emits.get(event)
        if declared is None:
            if self._undeclared.due((route, event)):
                logger.warning(
                    "%r is emitted on %s, but not declared; declare it with app.emits(%r, ...)",
                    event,
                    path,
                    event,
                    extra=about(path=path, event=event),
                )
        elif declared.message is not None:
            check_payload(payload, declared.message, f"the message of {event!r}")
