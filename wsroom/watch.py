"""Notices what has been at one thing for long, without a timer for each."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Watched(Protocol):
    """Something that is busy now and then."""

    def notice(self) -> None:
        """It has been busy for the watch's patience; called once."""


class Watch:
    """Times any number of short tasks at the cost of a dictionary entry each.

    One timer runs at a time, for the one that has been busy longest: dictionaries keep their
    order, so that is the first.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        """Seconds until something busy is noticed."""
        self._busy: dict[Watched, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self, watched: Watched) -> None:
        """It is busy from now on."""
        loop = asyncio.get_running_loop()
        self._busy[watched] = loop.time()
        if self._timer is None or self._loop is not loop:
            # An app that is mounted is not told when its loop ends and another begins.
            self._loop = loop
            self._timer = loop.call_later(self.patience, self._check)

    def leave(self, watched: Watched) -> None:
        """It is done; no matter whether it was noticed."""
        self._busy.pop(watched, None)

    def stop(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self.patience
        self._timer = None
        while self._busy:
            watched, since = next(iter(self._busy.items()))
            if since > due:
                self._timer = loop.call_at(since + self.patience, self._check)
                return
            del self._busy[watched]
            watched.notice()
