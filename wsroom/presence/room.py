"""One room with presence on one worker: keeps its sockets in the table, and its sockets informed.

Whatever happens, there is one way: what should be in the table is compared with what was written.
Steps wait in a queue until they are confirmed; if the table was lost, all of it is written again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

from wsroom.adapters.presence import PresenceAdapter
from wsroom.errors import AdapterError
from wsroom.presence.cards import Present, merged
from wsroom.presence.replica import Outcome, Replica
from wsroom.tasks import CHANGING
from wsroom.timing import Timing
from wsroom.wire.emission import Room
from wsroom.wire.presence import (
    Bury,
    Card,
    Enter,
    Leave,
    Notice,
    PresenceAnswer,
    Step,
    Update,
)


class Owner(Protocol):
    """What a room needs of the presence of its worker."""

    adapter: PresenceAdapter
    timing: Timing

    @property
    def worker(self) -> str: ...
    def next_number(self) -> int: ...
    def write(self, room: Room, replica: Replica, skip: Set[str]) -> None: ...
    def ended(self, room: Room) -> None: ...


class RoomPresence:
    """The presence of the sockets of this worker in one room."""

    def __init__(self, owner: Owner, room: Room) -> None:
        self.replica = Replica()
        self._owner = owner
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._viewers: set[str] = set()  # all sockets that are in the room
        self._entering: set[str] = set()  # those that have not been answered yet
        self._present: dict[str, str] = {}  # those that are shown, and their members
        self._cards: dict[str, Card] = {}  # of these members
        self._queue: list[Step] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._new = True  # no socket here has seen the replica
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._frame_timer: asyncio.TimerHandle | None = None
        self._due_timer: asyncio.TimerHandle | None = None
        self._lost_timer: asyncio.TimerHandle | None = None

    # -- the sockets of this worker ----------------------------------------------------------

    async def enter(self, socket: str, present: Present | None) -> None:
        """Return once a socket is in the table, and the replica is as new as that.

        Raises:
            AdapterError: the adapter did not confirm. The socket must leave then.

        """
        if not self._viewers:  # then the room was not received
            self.replica.stale = self._new = True
        self._viewers.add(socket)
        if present is not None:
            self._present[socket] = present.member
            self._cards[present.member] = present.card
            self._queue.append(Enter(socket, *present))
        elif not self.replica.stale:
            return
        self._entering.add(socket)
        try:
            await self._done()
        finally:
            self._entering.discard(socket)

    async def ready(self) -> None:
        """Return once the members are known; raises AdapterError."""
        if self.replica.stale:
            await self._done()

    async def update(self, socket: str, values: Mapping[str, Any]) -> None:
        """Change the card of a socket's member, if the socket is shown; raises AdapterError."""
        member = self._present.get(socket)
        if member is not None:
            self._cards[member] = merged(self._cards[member], values)
            self._queue.append(Update(socket, values))
            await self._done()

    def leave(self, socket: str, grace: float) -> None:
        """Take a socket out of the table: at once, or after a grace in seconds."""
        self._viewers.discard(socket)
        member = self._present.pop(socket, None)
        if member is not None:
            if member not in self._present.values():
                del self._cards[member]
            self._queue = [one for one in self._queue if getattr(one, "socket", "") != socket]
            self._queue.append(Leave(socket, grace))
        self._run()

    def bury(self, dead: Callable[[str], bool]) -> None:
        """Remove the sockets of the workers that are dead."""
        workers = sorted(filter(dead, self.replica.workers))
        if workers:
            self._queue += map(Bury, workers)
            self.replica.workers -= {*workers}
            self._run()

    def check(self) -> None:
        """Read the table again, in case that a change was missed or that it was lost."""
        self.replica.stale = True
        self._run()

    @property
    def busy(self) -> bool:
        """Whether a change is being made."""
        return self._task is not None

    async def finish(self) -> None:
        """Wait until all steps have been carried out or have failed once; then end."""
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=self._owner.timing.redis_timeout)
            if task.cancel():
                await asyncio.wait([task])
        for one in self._waiting:
            one.cancel()
        self._stop()

    # -- what the adapter delivers -----------------------------------------------------------

    def receive(self, notice: Notice) -> None:
        """Take over a change of the table."""
        outcome = self.replica.receive(notice)
        if outcome is Outcome.GAP:
            self._run()
        elif outcome is Outcome.FOLLOWS:
            for member, card in notice.members.items():
                self._compare(member, card)
            self._await_due(notice.due)
            self._changed()

    def _compare(self, member: str, card: Card | None) -> None:
        # Its sockets are here, so it is present, whatever the table says: it was taken for dead.
        if member not in self._cards:
            return
        if card is not None:
            self._cards[member] = card
        else:
            self._enter_again({member})

    def _enter_again(self, members: Set[str]) -> None:
        queued = {one.socket for one in self._queue if isinstance(one, Enter)}
        self._queue += [
            Enter(socket, member, self._cards[member])
            for socket, member in self._present.items()
            if member in members and socket not in queued
        ]
        self._run()

    def _changed(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        if self._frame_timer is None and self.replica.touched:
            self._write()

    def _write(self) -> None:
        # The first change at once, then at most one frame in each interval.
        self._frame_timer = None
        if self.replica.touched and self._viewers:
            self._owner.write(self._room, self.replica, self._entering)
            interval = self._owner.timing.presence_interval
            self._frame_timer = self._loop.call_later(interval, self._write)

    def flush(self) -> None:
        """Send now what waits for the end of its interval."""
        if self._frame_timer is not None:
            self._frame_timer.cancel()
            self._write()

    def _await_due(self, due: float | None) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
        if due is not None:
            # Not all workers at the same time: the first one does it, and the others hear of it.
            delay = due + random.random() * self._owner.timing.presence_interval
            self._due_timer = self._loop.call_later(delay, self.end_graces)

    def end_graces(self) -> None:
        """Let the adapter end the graces that are over."""
        if self._due_timer is not None:
            self._due_timer.cancel()
            self._due_timer = None
            self._run(asked=True)

    # -- changing the table ------------------------------------------------------------------

    async def _done(self) -> None:
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        self._run()
        await waiting

    def _run(self, asked: bool = False) -> None:
        if self._task is None:
            work = self._change(asked)
            self._task = self._loop.create_task(work, name=CHANGING)
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "presence failed", "exception": exc, "task": task}
            )
        if not self._viewers and not self._queue and self._due_timer is None:
            self._stop()

    def _stop(self) -> None:
        for timer in (self._frame_timer, self._due_timer, self._lost_timer):
            if timer is not None:
                timer.cancel()
        self._owner.ended(self._room)

    async def _change(self, asked: bool) -> None:
        # One call at a time for a room: what comes meanwhile shares the next one.
        while asked or self._queue or self._waiting or (self.replica.stale and self._viewers):
            asked = False
            steps, self._queue = self._queue, []
            waiting, self._waiting = self._waiting, []
            whole = self.replica.stale and bool(self._viewers)
            owner = self._owner
            try:
                answer = await owner.adapter.change_presence(
                    self._room, owner.worker, owner.next_number(), steps, whole=whole
                )
                await self._take_over(answer)
            except AdapterError as exc:
                for one in waiting:
                    if not one.done():
                        one.set_exception(exc)
                self._queue = self._still_wanted(steps) + self._queue
                await asyncio.sleep(owner.timing.presence_retry)
                continue
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    def _still_wanted(self, steps: list[Step]) -> list[Step]:
        gone = {one.socket for one in self._queue if isinstance(one, Leave)}
        return [one for one in steps if isinstance(one, Bury) or one.socket not in gone]

    async def _take_over(self, answer: PresenceAnswer) -> None:
        replica = self.replica
        self._await_due(answer.due)
        if answer.table is not None:
            self._load(answer)
        elif answer.epoch != replica.epoch and self._viewers:
            replica.stale = True
        else:
            await self._reach(answer)
        if replica.stale and self._viewers:
            owner = self._owner
            number = owner.next_number()
            again = await owner.adapter.change_presence(
                self._room, owner.worker, number, whole=True
            )
            self._load(again)

    async def _reach(self, answer: PresenceAnswer) -> None:
        replica = self.replica
        try:
            async with asyncio.timeout(self._owner.timing.presence_retry):
                while (
                    self._viewers
                    and not replica.stale
                    and replica.epoch == answer.epoch
                    and replica.position < answer.position
                ):
                    await self._moved.wait()
        except TimeoutError:
            replica.stale = True

    def _load(self, answer: PresenceAnswer) -> None:
        assert answer.table is not None
        replica = self.replica
        outcome = Outcome.FOLLOWS
        if self._new:
            self._new = False
            replica.begin(answer)
        else:
            outcome = replica.load(answer)
        members = answer.table.members
        known = self._cards.keys() & members.keys()
        self._cards.update({member: members[member] for member in known})
        lost = outcome is Outcome.LOST
        if again := (self._cards.keys() if lost else self._cards.keys() - known):
            self._enter_again(again)
        if replica.shows_lost and self._lost_timer is None:
            delay = self._owner.timing.presence_lost
            self._lost_timer = self._loop.call_later(delay, self._forget_lost)
        self._changed()

    def _forget_lost(self) -> None:
        self._lost_timer = None
        self.replica.forget_lost()
        self._changed()
