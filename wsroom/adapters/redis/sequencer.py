"""How emissions get into Redis: in order, once, and not without an end."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from functools import partial
from typing import Any

from wsroom.adapters.base import RESYNC, Emission
from wsroom.adapters.redis.link import Link
from wsroom.adapters.redis.links import PATIENCE, Links
from wsroom.adapters.redis.records import Names, encode_record
from wsroom.adapters.redis.refusals import is_passing
from wsroom.adapters.redis.scripts import keys
from wsroom.errors import AdapterError
from wsroom.rooms import Room

WAITING = 1000, 1024 * 1024
"""Emissions, and bytes of them, that may wait for a Redis that does not answer."""

DOUBTFUL = 15.0
"""Seconds after which a server that took an emission has shown that it was still the master."""


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
        self.link: Link | None = None
        """Where it is under way; None where it waits."""
        self.run_id = ""
        """The server that it went to last."""
        self.sent = False
        """Whether it ever was under way."""


class Sequencer:
    """Publishes in the order of the calls, each emission once, however often it has to be sent.

    Everything that is due is sent at once, without waiting for the answer to what came before. So
    that a refusal in the middle changes no order, each emission names the one before it in its
    room, and the script refuses it where that one is missing; then both are sent again, in order.
    """

    def __init__(self, names: Names, links: Links) -> None:
        self.publisher = secrets.token_hex(6)
        self._names = names
        self._links = links
        self._loop = asyncio.get_running_loop()  # asking for it takes a system call in Python 3.11
        self._numbers = itertools.count(1)
        self._rooms: dict[str, list[Publication]] = {}
        self._count = 0
        self._bytes = 0
        self._slots = asyncio.Semaphore(WAITING[0])
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._recent: dict[Room, tuple[str, float]] = {}
        """Where it has published lately: on which server, and when."""

    async def publish(self, emission: Emission) -> None:
        """Return once the script has carried it out.

        Raises:
            AdapterError: Redis refused, or did not answer within 5 s, or too much waits already.

        """
        since = self._loop.time()
        channel = self._names.channel(emission.sequence)
        await self._wait_for_slot(channel, len(emission.payload))
        number = next(self._numbers)
        record = encode_record(self.publisher, number, emission)
        publication = Publication(number, channel, record, since, self._loop.create_future())
        try:
            self._enter(publication)
            await publication.future
        finally:
            self._leave(publication)
        if self._links.fails_over:
            self._remember(emission.sequence, publication.run_id)

    def _remember(self, room: Room, run_id: str) -> None:
        now = self._loop.time()
        self._recent.pop(room, None)
        self._recent[room] = run_id, now
        while next(iter(self._recent.values()))[1] < now - DOUBTFUL:  # the oldest is the first
            del self._recent[next(iter(self._recent))]

    async def tell_lost(self) -> None:
        """Tell the rooms whose last emissions may be lost with the server that took them.

        A deposed master may have taken them when the others listened to the new one already.

        Raises:
            AdapterError: Redis is away again; what could not be told is told the next time.

        """
        since = self._loop.time() - DOUBTFUL
        for room, (run_id, time) in list(self._recent.items()):
            link = self._links.route(self._names.channel(room))
            if time > since and link is not None and link.up and link.run_id != run_id:
                await self.publish(Emission(room, b"", kind=RESYNC))

    async def _wait_for_slot(self, channel: str, size: int) -> None:
        link = self._links.route(channel)
        if link is None or not link.prompt:
            most, most_bytes = WAITING
            if self._count >= most or (self._count and self._bytes + size > most_bytes):
                raise AdapterError("Redis does not answer, and too much waits for it already")
        if self._slots.locked():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._slots.acquire()
            except TimeoutError:
                raise AdapterError("Redis did not take it within 5 s") from None
        else:
            await self._slots.acquire()  # does not suspend
        if self._stopped:
            self._slots.release()
            raise AdapterError("the adapter has stopped")

    def _enter(self, publication: Publication) -> None:
        self._count += 1
        self._bytes += len(publication.record)
        room = self._rooms.setdefault(publication.channel, [])
        room.append(publication)
        self._send(room, len(room) - 1)
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE, self._give_up)

    def _leave(self, publication: Publication) -> None:
        self._slots.release()
        self._count -= 1
        self._bytes -= len(publication.record)
        room = self._rooms[publication.channel]
        room.remove(publication)
        if not room:
            del self._rooms[publication.channel]
        elif room[0].link is None:
            self._send(room, 0)  # it waited for this one's turn

    def _send(self, room: list[Publication], index: int) -> None:
        publication = room[index]
        before = room[index - 1] if index else None
        if before is not None and before.link is None:
            return  # its turn comes after that one's
        link = self._links.route(publication.channel)
        if link is None or not link.up:
            return
        publication.link = link
        publication.run_id = link.run_id
        publication.sent = True
        link.run_script(
            "publish",
            (
                *keys(publication.channel),
                self.publisher,
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
        elif is_passing(answer):
            publication.link = None
            self._links.retry(answer)
        else:
            # A script that fails in the middle (no right to one of its commands) has done what came before.
            error = AdapterError(f"Redis refused: {answer}", maybe_sent=True)
            error.__cause__ = answer
            publication.future.set_exception(error)

    def send_again(self) -> None:
        """Send what waits, in order."""
        for room in self._rooms.values():
            for index, publication in enumerate(room):
                if publication.link is None and not publication.future.done():
                    self._send(room, index)

    def _give_up(self) -> None:
        loop = self._loop
        self._timer = None
        due = loop.time() - PATIENCE
        younger = []
        for publication in self._unanswered():
            if publication.since > due:
                younger.append(publication.since)
                continue
            problem = f"Redis did not answer within {PATIENCE:g} s"
            publication.future.set_exception(AdapterError(problem, maybe_sent=publication.sent))
        if younger:
            self._timer = loop.call_at(min(younger) + PATIENCE, self._give_up)

    def stop(self) -> None:
        """End the timer; what still waits fails."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for publication in self._unanswered():
            problem = "the adapter has stopped"
            publication.future.set_exception(AdapterError(problem, maybe_sent=publication.sent))

    def _unanswered(self) -> list[Publication]:
        rooms = self._rooms.values()
        return [one for room in rooms for one in room if not one.future.done()]
