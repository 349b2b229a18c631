"""Runs the app's code for one socket: not blind to its peer, and not without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from wsroom.connection.inbox import Inbox
from wsroom.timing import Timing

LATE = "its time is over"
GONE = "its peer is gone"


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


class Interrupted(Exception):
    """The app's code was cancelled by its supervisor: LATE or GONE."""


def raised_by_app(exc: BaseException) -> bool:
    """Whether `exc` is the app's own failure, and not somebody's wish to end this task.

    A handler that waits for a task which was cancelled raises CancelledError too; and sys.exit()
    in one client's handler is no reason to end the server for all.
    """
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(exc, (Exception, SystemExit))


class Owner(Protocol):
    """The connection whose task is watched."""

    def gone(self, code: int) -> None:
        """The peer has ended the connection, while the app's code runs."""


class Supervisor:
    """Watches what runs in the task that it is made in.

    From the moment the app's code has been at work for a second, with one frame or with many in a
    row, `inbox` is read beside it; `owner` is told where the peer's end turns up there.
    The code is cancelled when its `budget` of seconds for one frame is over, and
    `timing.grace` seconds after `start_grace`, wherever the task is then.
    """

    __slots__ = (
        "_budget",
        "_inbox",
        "_last",
        "_late",
        "_loop",
        "_owner",
        "_reason",
        "_since",
        "_task",
        "_timing",
        "_watch",
        "_watched",
        "_working",
        "ended",
        "noticed",
    )

    def __init__(
        self,
        watch: Watch,
        inbox: Inbox,
        budget: float,
        timing: Timing,
        owner: Owner,
    ) -> None:
        self.noticed = False  # at work for a second or more
        self.ended = False  # the grace is over: there is nothing more to do for this socket
        self._watch = watch
        self._inbox = inbox
        self._budget = budget
        self._timing = timing
        self._owner = owner
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._watched = False
        self._working = False
        self._since = 0.0
        # Why we cancelled our own task, until that has been dealt with.
        self._reason: str | None = None
        self._late: asyncio.TimerHandle | None = None
        self._last: asyncio.TimerHandle | None = None

    async def run(self, work: Awaitable[None]) -> None:
        """Run the app's code.

        Raises:
            Interrupted: it was cancelled from here.

        """
        self.begin()
        try:
            await self.guard(work)
        finally:
            self.end()

    async def guard(self, work: Awaitable[None]) -> None:
        """Run what belongs to the app's code between `begin` and `end`; raises as `run` does."""
        try:
            await work
        except asyncio.CancelledError:
            self.raise_interrupted()
            raise

    def begin(self) -> None:
        """The app's code is at work from now on: `run`, taken apart for the path of every frame."""
        self._working = True
        self._since = self._loop.time()
        if self.noticed:
            self._attend()
        elif not self._watched:
            self._watched = True
            self._watch.enter(self)

    def end(self) -> None:
        """The app's code is done."""
        self._working = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._reason is not None:
            self.reason()  # the app's code caught the cancellation and went on

    def raise_interrupted(self) -> None:
        """Raise Interrupted where a CancelledError was this supervisor's."""
        reason = self.reason()
        if reason is not None:
            raise Interrupted(reason) from None

    def notice(self) -> None:
        """Called by the watch a second after the app's code began to work."""
        self._watched = False
        if self._working:
            self.noticed = True
            self._attend()

    def _attend(self) -> None:
        left = self._since + self._budget - self._loop.time()
        self._late = self._loop.call_later(left, self._interrupt, LATE)
        self._inbox.read_beside(self._owner.gone)

    def start_grace(self) -> None:
        """Give the task its last seconds."""
        if self._last is None:
            self._last = self._loop.call_later(self._timing.grace, self._interrupt, GONE)

    def reason(self) -> str | None:
        """Why we cancelled the task, told once; None where we did not or somebody else did too."""
        reason, self._reason = self._reason, None
        if reason is not None and self._task is not None and self._task.uncancel():
            return None
        return reason

    def stop(self) -> None:
        """End the timers."""
        self._watch.leave(self)
        for timer in (self._late, self._last):
            if timer is not None:
                timer.cancel()

    def _interrupt(self, reason: str) -> None:
        if self._task is None:
            return
        if reason == GONE:
            self.ended = True
            again = self._timing.cancel_again_every
            self._last = self._loop.call_later(again, self._interrupt, GONE)
        if self._reason is not None:
            self._task.uncancel()  # the one before was caught, and nobody has asked why yet
        self._reason = reason
        self._task.cancel()
