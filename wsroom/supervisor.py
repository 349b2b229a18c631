"""Runs the app's code for one socket: not blind to its peer, and not without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wsroom.inbox import Inbox
from wsroom.watch import Watch

LATE = "its time is over"
GONE = "its peer is gone"


class Interrupted(Exception):
    """The app's code was cancelled by its supervisor: LATE or GONE."""


class Supervisor:
    """Watches what runs in the task that it is made in.

    From the moment the app's code has been at work for a second, `inbox` is read beside it; `gone`
    is told the code where the peer's end turns up there. The code is cancelled when its `budget`
    of seconds is over, and `grace` seconds after `start_grace`, wherever the task is then.
    """

    def __init__(
        self,
        watch: Watch,
        inbox: Inbox,
        budget: float,
        grace: float,
        gone: Callable[[int], None],
    ) -> None:
        self.ended = False
        """Whether the grace is over: there is nothing more to do for this socket."""
        self._watch = watch
        self._inbox = inbox
        self._budget = budget
        self._grace = grace
        self._gone = gone
        self._task = asyncio.current_task()
        # Why we cancelled our own task, until that has been dealt with.
        self._reason: str | None = None
        self._late: asyncio.TimerHandle | None = None
        self._last: asyncio.TimerHandle | None = None

    async def run(self, work: Awaitable[None]) -> None:
        """Run the app's code.

        Raises:
            Interrupted: it was cancelled from here.

        """
        self._watch.enter(self)
        try:
            await work
        except asyncio.CancelledError:
            reason = self.reason()
            if reason is None:
                raise
            raise Interrupted(reason) from None
        finally:
            self._watch.leave(self)
            if self._late is not None:
                self._late.cancel()
                self._late = None
            self.reason()  # where the app's code caught the cancellation and went on

    def notice(self) -> None:
        """Called by the watch once the app's code has been at work for a second."""
        left = self._budget - self._watch.patience
        self._late = asyncio.get_running_loop().call_later(left, self._interrupt, LATE)
        self._inbox.read_beside(self._gone)

    def start_grace(self) -> None:
        """Give the task its last seconds."""
        if self._last is None:
            loop = asyncio.get_running_loop()
            self._last = loop.call_later(self._grace, self._interrupt, GONE)

    def reason(self) -> str | None:
        """Why we cancelled the task, told once; None where we did not or somebody else did too."""
        reason, self._reason = self._reason, None
        if reason is not None and self._task is not None and self._task.uncancel():
            return None
        return reason

    def stop(self) -> None:
        """End the timers."""
        for timer in (self._late, self._last):
            if timer is not None:
                timer.cancel()

    def _interrupt(self, reason: str) -> None:
        self.ended = self.ended or reason == GONE
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()
