"""How emissions get into Redis: in order, once, and not without an end."""

from __future__ import annotations

import asyncio
from functools import partial

from wsroom.adapters.redis.codec import Names
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.sender import Publication, Publications
from wsroom.errors import AdapterError
from wsroom.wire.emission import RESYNC, Emission, Room

WAITING = 1000, 1024 * 1024
"""Emissions, and bytes of them, that may wait for a Redis that does not answer."""

MOST_DOUBTS = 10_000
"""Rooms that are remembered for being told, at the most."""


class Sequencer:
    """Publishes, with a bound on what waits, and tells what a failover may have lost."""

    def __init__(self, names: Names, links: Servers) -> None:
        self._names = names
        self._links = links
        self._loop = asyncio.get_running_loop()  # asking for it takes a system call in Python 3.11
        self._publications = Publications(links)
        self._count = 0
        self._bytes = 0
        self._slots = asyncio.Semaphore(WAITING[0])
        self._stopped = False
        self._taken: dict[Room, tuple[str, float]] = {}
        """Where it has published lately: on which server, and when; the latest is the last."""
        self._last: dict[str, float] = {}
        """When each server has taken the last one."""
        # Another publisher: what is told now goes ahead of emissions that wait with lower numbers.
        self._doubts = Publications(links)
        self._telling: set[Room] = set()

    async def publish(self, emission: Emission) -> None:
        """Return once the script has carried it out.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`, or too
                many emissions wait already.

        """
        since = self._loop.time()
        channel = self._names.channel(emission.sequence)
        size = len(emission.payload)
        await self._wait_for_slot(channel, size)
        self._count += 1
        self._bytes += size
        try:
            publication = self._publications.add(channel, emission, since)
            try:
                await publication.future
            finally:
                self._publications.remove(publication)
        finally:
            self._slots.release()
            self._count -= 1
            self._bytes -= size
        if self._links.fails_over:
            self._remember(emission.sequence, publication.run_id)

    async def _wait_for_slot(self, channel: str, size: int) -> None:
        link = self._links.link_for(channel)
        if link is None or not link.responsive:
            most, most_bytes = WAITING
            if self._count >= most or (self._count and self._bytes + size > most_bytes):
                raise AdapterError("Redis does not answer, and too much waits for it already")
        if self._slots.locked():
            timeout = self._links.timing.redis_timeout
            try:
                async with asyncio.timeout(timeout):
                    await self._slots.acquire()
            except TimeoutError:
                raise AdapterError(f"Redis did not take it within {timeout:g} s") from None
        else:
            await self._slots.acquire()  # does not suspend
        if self._stopped:
            self._slots.release()
            raise AdapterError("the adapter has stopped")

    def came_up(self) -> None:
        """A server is there, maybe another one: send what waits.

        But first, before anything new can be heard from there, tell the rooms whose last emissions
        may be lost with the server that took them. A deposed master may have taken them when the
        others listened to the new one already, and so nobody else can know.
        """
        if self._links.fails_over:
            self._tell_doubts()
        self.send_again()

    def send_again(self) -> None:
        """Send what waits, in order."""
        self._doubts.send_again()
        self._publications.send_again()

    def stop(self) -> None:
        """What still waits fails, and nothing is taken any more."""
        self._stopped = True
        self._publications.stop()
        self._doubts.stop()

    # -- what a failover may have lost -----------------------------------------------------

    def _remember(self, room: Room, run_id: str) -> None:
        now = self._loop.time()
        self._last[run_id] = now
        self._taken.pop(room, None)
        self._taken[room] = run_id, now
        while len(self._taken) > MOST_DOUBTS or not self._is_doubtful(*self._oldest()):
            del self._taken[next(iter(self._taken))]

    def _oldest(self) -> tuple[str, float]:
        return next(iter(self._taken.values()))

    def _is_doubtful(self, run_id: str, time: float) -> bool:
        # A cluster's master that is cut off from the others soon takes nothing more. With Sentinel
        # it goes on, and only the Sentinels know: what they have not been asked since is doubtful,
        # however long ago it was.
        known = self._last[run_id] if self._links.sharded else self._links.confirmed_at
        return time > known - self._links.timing.doubtful

    def _tell_doubts(self) -> None:
        now = self._loop.time()
        for room, (run_id, time) in self._taken.items():
            channel = self._names.channel(room)
            link = self._links.link_for(channel)
            changed = link is not None and link.connected and link.run_id != run_id
            if changed and self._is_doubtful(run_id, time) and room not in self._telling:
                self._telling.add(room)
                told = self._doubts.add(channel, Emission(room, b"", kind=RESYNC), now)
                told.future.add_done_callback(partial(self._told, room, told))

    def _told(self, room: Room, told: Publication, future: asyncio.Future[None]) -> None:
        self._doubts.remove(told)
        self._telling.discard(room)
        if future.exception() is None:  # else the next server that comes up is told
            self._remember(room, told.run_id)
