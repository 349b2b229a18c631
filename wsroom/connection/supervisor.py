"""Runs the app's code for one socket: keeps reading from the peer, and enforces time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from wsroom.connection.inbox import Source
from wsroom.timing import Timing

TIMED_OUT = "it took too long"
DISCONNECTED = "its client disconnected"


class Watch:
    """Notifies supervisors whose code has been running for `delay` seconds.

    Each costs a dictionary entry. There is one timer, for the one that has been running longest:
    dictionaries keep their order, so that is the first.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._started: dict[Supervisor, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, supervisor: Supervisor) -> None:
        """Notify `supervisor` after the delay, once, unless it is removed before."""
        loop = asyncio.get_running_loop()
        self._started[supervisor] = loop.time()
        if self._timer is None or self._loop is not loop:
            # A mounted app is not notified when its loop ends and another one begins.
            self._loop = loop
            self._timer = loop.call_later(self._delay, self._check)

    def remove(self, supervisor: Supervisor) -> None:
        """Do not notify `supervisor`; does nothing if it was notified already."""
        self._started.pop(supervisor, None)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self._delay
        self._timer = None
        while self._started:
            supervisor, started = next(iter(self._started.items()))
            if started > due:
                self._timer = loop.call_at(started + self._delay, self._check)
                return
            del self._started[supervisor]
            supervisor.notice()


class Interrupted(Exception):
    """The app's code was cancelled by its supervisor: TIMED_OUT or DISCONNECTED."""

    @property
    def timed_out(self) -> bool:
        """Whether it used up its time; else its peer has disconnected."""
        return bool(self.args[0] == TIMED_OUT)


def raised_by_app(exc: BaseException) -> bool:
    """Whether `exc` is a failure of the app's code, not a cancellation of this task from outside.

    A handler that awaits a cancelled task raises CancelledError too; and sys.exit() in the handler
    of one client must not end the server for all.
    """
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(exc, (Exception, SystemExit))


class SupervisedConnection(Protocol):
    """The connection for which a supervisor runs code."""

    source: Source

    def peer_gone(self, code: int) -> None:
        """The peer has disconnected with `code` while the app's code runs."""


class Supervisor:
    """Runs the app's code in the task in which it is made.

    Once the app's code has run for `timing.read_beside_after`, with one frame or with many in a
    row, the source of `connection` is read concurrently, and `connection` is notified of the
    peer's disconnect.
    The code is cancelled after `budget` seconds for one frame, and `timing.grace` seconds after
    `start_grace`, whatever the task does then.
    """

    __slots__ = (
        "_budget",
        "_budget_timer",
        "_connection",
        "_grace_timer",
        "_in_watch",
        "_loop",
        "_reason",
        "_running",
        "_task",
        "_timing",
        "_watch",
        "long_running",
        "started",
        "stopped",
    )

    def __init__(
        self,
        watch: Watch,
        budget: float,
        timing: Timing,
        connection: SupervisedConnection,
    ) -> None:
        self.long_running = False
        """Whether the app's code has run for `timing.read_beside_after`."""
        self.stopped = False
        """Whether nothing more may run for this socket: the grace or the connection is over."""
        self._watch = watch
        self._budget = budget
        self._timing = timing
        self._connection = connection
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._in_watch = False
        self._running = False
        self.started = 0.0
        """When the app's code for the current frame was started, by the clock of the loop."""
        # Why this supervisor cancelled its task, until `take_reason`.
        self._reason: str | None = None
        self._budget_timer: asyncio.TimerHandle | None = None
        self._grace_timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the app's code runs, between `begin` and `end`."""
        return self._running

    async def run(self, work: Awaitable[None]) -> None:
        """Run the app's code.

        Raises:
            Interrupted: this supervisor cancelled it.

        """
        self.begin()
        try:
            await self.run_within(work)
        finally:
            self.end()

    async def run_within(self, work: Awaitable[None]) -> None:
        """Run the app's code between `begin` and `end`; raises what `run` raises."""
        try:
            await work
        except asyncio.CancelledError:
            self.raise_interrupted()
            raise

    def begin(self) -> None:
        """Start the time limit: with `end`, this is `run` without a coroutine for each frame."""
        self._running = True
        self.started = self._loop.time()
        if self.long_running:
            self._read_beside()
        elif not self._in_watch:
            self._in_watch = True
            self._watch.add(self)

    def end(self) -> None:
        """End the time limit: the app's code is done."""
        self._running = False
        if self._budget_timer is not None:
            self._budget_timer.cancel()
            self._budget_timer = None
        if self._reason is not None:
            self.take_reason()  # the app's code caught the cancellation and went on

    def raise_interrupted(self) -> None:
        """Raise Interrupted if the CancelledError that is handled is this supervisor's."""
        reason = self.take_reason()
        if reason is not None:
            raise Interrupted(reason) from None

    def take_reason(self) -> str | None:
        """Return why this supervisor cancelled its task, and undo the cancellation; once.

        Returns None if it did not, or if something else cancelled the task too.
        """
        reason, self._reason = self._reason, None
        if reason is not None and self._task is not None and self._task.uncancel():
            return None
        return reason

    def notice(self) -> None:
        """Called by the watch: the app's code was started `timing.read_beside_after` ago."""
        self._in_watch = False
        if self._running:
            self.long_running = True
            self._read_beside()

    def _read_beside(self) -> None:
        left = self.started + self._budget - self._loop.time()
        self._budget_timer = self._loop.call_later(left, self._interrupt, TIMED_OUT)
        self._connection.source.read_beside(self._connection.peer_gone)

    def start_grace(self) -> None:
        """Cancel the task after `timing.grace`, and again until it ends."""
        if self._grace_timer is None:
            delay = self._timing.grace
            self._grace_timer = self._loop.call_later(delay, self._interrupt, DISCONNECTED)

    def stop(self) -> None:
        """Cancel the timers: the connection is over."""
        self.stopped = True
        self._watch.remove(self)
        for timer in (self._budget_timer, self._grace_timer):
            if timer is not None:
                timer.cancel()

    def _interrupt(self, reason: str) -> None:
        if self._task is None:
            return
        if reason == DISCONNECTED:
            self.stopped = True
            delay = self._timing.cancel_again_every
            self._grace_timer = self._loop.call_later(delay, self._interrupt, DISCONNECTED)
        if self._reason is not None:
            self._task.uncancel()  # the last cancellation was caught, its reason was not taken
        self._reason = reason
        self._task.cancel()
