"""Sending one publisher's emissions to Redis until they are confirmed: each once, in order."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from functools import partial
from typing import Any

from wsroom.adapters.redis.codec import encode_record, encode_volatile
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.retryable import is_retryable
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.scripts import sequence_keys
from wsroom.errors import AdapterError
from wsroom.wire.emission import Emission


class PendingPublish:
    """An emission that Redis has not confirmed yet."""

    __slots__ = ("called_at", "channel", "future", "link", "number", "record", "run_id", "sent")

    def __init__(
        self,
        number: int,
        channel: str,
        record: tuple[bytes, bytes, bytes],
        called_at: float,
        future: asyncio.Future[int | None],
    ) -> None:
        self.number = number
        self.channel = channel
        self.record = record
        self.called_at = called_at
        self.future = future
        """Done when the script has carried it out, with the number of workers that heard it; None
        if it is unknown, because the answer to it was lost. Fails with AdapterError."""
        self.link: Link | None = None
        """The link that it was sent on and whose answer is awaited; None while it waits."""
        self.run_id = ""
        """The server that it was sent to last."""
        self.sent = False
        """Whether it was ever sent."""


class Sender:
    """Makes Redis carry out each emission once, in the order of the calls, with repeats if needed.

    Emissions are sent at once, without waiting for the answers to earlier ones. To keep the order
    when one of them is refused, each names the emission before it in its room, and the script
    refuses it if that one is missing. Then both are sent again, in order.
    """

    def __init__(self, servers: Servers) -> None:
        self._publisher = secrets.token_hex(6)
        self._servers = servers
        self._timeout = servers.timing.redis_timeout
        self._loop = asyncio.get_running_loop()  # to get it takes a system call in Python 3.11
        self._numbers = itertools.count(1)
        self._rooms: dict[str, list[PendingPublish]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, channel: str, emission: Emission, called_at: float) -> PendingPublish:
        """Send an emission, now or when its server is connected; `remove` it when it is done."""
        number = next(self._numbers)
        record = encode_record(self._publisher, number, emission)
        pending = PendingPublish(number, channel, record, called_at, self._loop.create_future())
        room = self._rooms.setdefault(channel, [])
        room.append(pending)
        self._send(room, len(room) - 1)
        if self._timer is None or called_at + self._timeout < self._timer.when():
            self._set_timer(called_at)
        return pending

    def send_volatile(self, channel: str, emission: Emission) -> asyncio.Future[Any] | None:
        """Send a volatile emission once, or drop it if it cannot be sent now, in order.

        Returns:
            a future of the server's answer, which may be an exception; None if it was dropped.

        """
        link = self._servers.link_for(channel)
        pending = self._rooms.get(channel)
        last = pending[-1] if pending else None
        if link is None or not link.responsive or (last is not None and last.link is None):
            return None
        after = 0 if last is None else last.number
        answer: asyncio.Future[Any] = self._loop.create_future()
        record = encode_volatile(self._publisher, after, emission)
        command = "SPUBLISH" if self._servers.sharded else "PUBLISH"
        link.commands.send((command, channel, record), partial(self._volatile_answered, answer))
        return answer

    def _volatile_answered(self, future: asyncio.Future[Any], answer: Any) -> None:
        if is_retryable(answer):
            self._servers.schedule_retry(answer)  # not for this one: for those that follow
        future.set_result(answer)

    def _set_timer(self, called_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(called_at + self._timeout, self._fail_overdue)

    def remove(self, pending: PendingPublish) -> None:
        """Forget an emission, whether it is done or not."""
        room = self._rooms[pending.channel]
        room.remove(pending)
        if not room:
            del self._rooms[pending.channel]
        elif room[0].link is None:
            self._send(room, 0)  # it waited for this one

    def send_waiting(self) -> None:
        """Send the emissions that wait, in order."""
        for room in self._rooms.values():
            for index, pending in enumerate(room):
                if pending.link is None:
                    self._send(room, index)

    def stop(self) -> None:
        """End the timer; emissions without an answer fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in self._unanswered():
            problem = "the adapter has stopped"
            pending.future.set_exception(AdapterError(problem, maybe_sent=pending.sent))

    def _send(self, room: list[PendingPublish], index: int) -> None:
        pending = room[index]
        if pending.future.done():
            return  # it has failed; its caller removes it
        before = room[index - 1] if index else None
        if before is not None and before.link is None:
            return  # the one before it must be sent first
        link = self._servers.link_for(pending.channel)
        if link is None or not link.connected:
            return
        pending.link = link
        pending.run_id = link.run_id
        pending.sent = True
        link.commands.run_script(
            "publish",
            (
                *sequence_keys(pending.channel, sharded=self._servers.sharded),
                self._publisher,
                pending.number,
                "" if before is None else before.number,
                *pending.record,
            ),
            partial(self._answered, pending),
        )

    def _answered(self, pending: PendingPublish, answer: Any) -> None:
        if pending.future.done():
            return
        if not isinstance(answer, Exception):
            pending.future.set_result(answer[1] if isinstance(answer, list) else None)
        elif is_retryable(answer):
            pending.link = None
            self._servers.schedule_retry(answer)
        else:
            # If a script fails in the middle (one of its commands is not allowed), the commands
            # before that have been executed.
            error = AdapterError(f"Redis refused: {answer}", maybe_sent=True)
            error.__cause__ = answer
            pending.future.set_exception(error)

    def _fail_overdue(self) -> None:
        self._timer = None
        overdue = self._loop.time() - self._timeout
        later = []
        for pending in self._unanswered():
            if pending.called_at > overdue:
                later.append(pending.called_at)
                continue
            problem = f"Redis did not answer within {self._timeout:g} s"
            pending.future.set_exception(AdapterError(problem, maybe_sent=pending.sent))
        if later:
            self._set_timer(min(later))

    def _unanswered(self) -> list[PendingPublish]:
        rooms = self._rooms.values()
        return [one for room in rooms for one in room if not one.future.done()]
