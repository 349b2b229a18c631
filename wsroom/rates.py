"""Rates: so many in a time, and some of them at once. No I/O and no asyncio here.

Each user of a rate has one number: the time at which all that it has used is available again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from wsroom.errors import SetupError

_SECONDS = {"s": 1, "min": 60, "h": 3600}

_ROUNDING = 1e-6
"""Seconds that are none: differences of times are not exact."""


_FORGET_AFTER = 1.0


class Rate(NamedTuple):
    """A rate, as two times in seconds."""

    interval: float
    """How long one costs."""
    burst: float
    """How long as many cost as are allowed at once."""

    @classmethod
    def of(cls, per_second: float, burst: float) -> Rate:
        """Return the rate of so many a second, and `burst` at once."""
        return cls(1 / per_second, burst / per_second + _ROUNDING)

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read `<int>/<s|min|h>`: so many in that time, and as many at once.

        Raises:
            SetupError: the text is invalid.

        """
        found = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h)", text) if type(text) is str else None
        if found is None:
            raise SetupError(f'rate is {text!r}; use a text such as "10/s", "5/min" or "100/h"')
        count = int(found[1])
        return cls.of(count / _SECONDS[found[2]], count)

    def after(self, due: float, now: float, count: int = 1) -> float:
        """Return the number of a user that uses `count` at time `now`; `due` is its number."""
        return max(due, now) + self.interval * count

    def wait(self, due: float, now: float) -> float:
        """Return the seconds until a user whose number is `due` is within the rate; 0 if it is."""
        return max(0.0, due - now - self.burst)


class Pauses:
    """The pauses of a user that exceeds a rate again and again."""

    __slots__ = ("_seconds", "_until")

    def __init__(self) -> None:
        self._seconds = 0.0
        self._until = 0.0

    def add(self, seconds: float, now: float) -> float:
        """Add a pause that begins at time `now`; return how long it and those before are.

        Earlier ones do not count if a second has passed without one.
        """
        if now - self._until > _FORGET_AFTER:
            self._seconds = 0.0
        self._seconds += seconds
        self._until = now + seconds
        return self._seconds


class EventRate:
    """The rate of one handler, for each socket or for each key."""

    __slots__ = ("key", "rate", "text")

    def __init__(self, text: str, key: Callable[[Any], Hashable] | None) -> None:
        self.rate = Rate.parse(text)
        self.text = text
        self.key = key
        """Returns whose rate it is, for a socket; None for the socket's own."""


class Usage:
    """What the users of the rates of handlers have used.

    A user is forgotten some time after it has nothing to wait for, so there is no more of them
    than have used the handlers within the time of their rates.
    """

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: dict[EventRate, dict[Hashable, float]] = {}

    def take(self, limit: EventRate, user: Hashable, now: float) -> float:
        """Use one at time `now`; return 0, or the seconds to wait before one can be used."""
        users = self._due.setdefault(limit, {})
        due = users.pop(user, now)
        after = limit.rate.after(due, now)
        wait = limit.rate.wait(after, now)
        users[user] = due if wait else after
        # The first is the one that has not used the handler for longest.
        for _ in range(2):
            first = next(iter(users))
            if users[first] > now:
                break
            del users[first]
        return wait
