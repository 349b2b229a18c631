"""What one publisher has given to Redis and is not confirmed yet: each once, in order."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from functools import partial
from typing import Any

from wsroom.adapters.redis.codec import encode_record
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.retryable import is_retryable
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.scripts import keys
from wsroom.errors import AdapterError
from wsroom.wire.emission import Emission


class Publication:
    """An emission that Redis has not confirmed yet."""

    __slots__ = ("channel", "future", "link", "number", "record", "run_id", "sent", "since")

    def __init__(
        self,
        number: int,
        channel: str,
        record: bytes,
        since: float,
        future: asyncio.Future[None],
    ) -> None:
        self.number = number
        self.channel = channel
        self.record = record
        self.since = since
        self.future = future
        """Done when the script has carried it out; fails with AdapterError."""
        self.link: Link | None = None
        """Where it is under way; None where it waits."""
        self.run_id = ""
        """The server that it went to last."""
        self.sent = False
        """Whether it ever was under way."""


class Publications:
    """Sends each emission once, in the order of the calls, however often it has to be sent.

    Everything that is due is sent at once, without waiting for the answer to what came before. So
    that a refusal in the middle changes no order, each emission names the one before it in its
    room, and the script refuses it where that one is missing; then both are sent again, in order.
    """

    def __init__(self, links: Servers) -> None:
        self._publisher = secrets.token_hex(6)
        self._links = links
        self._timeout = links.timing.redis_timeout
        self._loop = asyncio.get_running_loop()  # asking for it takes a system call in Python 3.11
        self._numbers = itertools.count(1)
        self._rooms: dict[str, list[Publication]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, channel: str, emission: Emission, since: float) -> Publication:
        """Send an emission, now or when its server is there; `remove` it when it is done."""
        number = next(self._numbers)
        record = encode_record(self._publisher, number, emission)
        publication = Publication(number, channel, record, since, self._loop.create_future())
        room = self._rooms.setdefault(channel, [])
        room.append(publication)
        self._send(room, len(room) - 1)
        if self._timer is None or since + self._timeout < self._timer.when():
            self._set_timer(since)
        return publication

    def _set_timer(self, since: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(since + self._timeout, self._give_up)

    def remove(self, publication: Publication) -> None:
        """Forget one, done or not."""
        room = self._rooms[publication.channel]
        room.remove(publication)
        if not room:
            del self._rooms[publication.channel]
        elif room[0].link is None:
            self._send(room, 0)  # it waited for this one's turn

    def send_again(self) -> None:
        """Send what waits, in order."""
        for room in self._rooms.values():
            for index, publication in enumerate(room):
                if publication.link is None:
                    self._send(room, index)

    def stop(self) -> None:
        """End the timer; what still waits fails."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for publication in self._unanswered():
            problem = "the adapter has stopped"
            publication.future.set_exception(AdapterError(problem, maybe_sent=publication.sent))

    def _send(self, room: list[Publication], index: int) -> None:
        publication = room[index]
        if publication.future.done():
            return  # it was given up
        before = room[index - 1] if index else None
        if before is not None and before.link is None:
            return  # its turn comes after that one's
        link = self._links.link_for(publication.channel)
        if link is None or not link.connected:
            return
        publication.link = link
        publication.run_id = link.run_id
        publication.sent = True
        link.commands.run_script(
            "publish",
            (
                *keys(publication.channel),
                self._publisher,
                publication.number,
                "" if before is None else before.number,
                publication.record,
            ),
            partial(self._answered, publication),
        )

    def _answered(self, publication: Publication, answer: Any) -> None:
        if publication.future.done():
            return
        if not isinstance(answer, Exception):
            publication.future.set_result(None)
        elif is_retryable(answer):
            publication.link = None
            self._links.schedule_retry(answer)
        else:
            # A script that fails in the middle (one of its commands is not allowed) has done what
            # came before.
            error = AdapterError(f"Redis refused: {answer}", maybe_sent=True)
            error.__cause__ = answer
            publication.future.set_exception(error)

    def _give_up(self) -> None:
        self._timer = None
        due = self._loop.time() - self._timeout
        younger = []
        for publication in self._unanswered():
            if publication.since > due:
                younger.append(publication.since)
                continue
            problem = f"Redis did not answer within {self._timeout:g} s"
            publication.future.set_exception(AdapterError(problem, maybe_sent=publication.sent))
        if younger:
            self._set_timer(min(younger))

    def _unanswered(self) -> list[Publication]:
        rooms = self._rooms.values()
        return [one for room in rooms for one in room if not one.future.done()]
