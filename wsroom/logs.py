"""Limiting how often the same line is logged. No I/O and no asyncio here; time is an argument."""

from __future__ import annotations

from collections.abc import Hashable


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
