"""Publishing emissions to Redis: in order, once, within a time limit, with a bound on the queue."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.failover import FailoverNotices
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.network.url import read_topology
from wsroom.adapters.redis.presence import RedisPresence
from wsroom.adapters.redis.scripts import HistorySettings, network_settings
from wsroom.adapters.redis.sender import Sender
from wsroom.errors import AdapterError
from wsroom.timing import Timing
from wsroom.wire.emission import Emission

MOST_WAITING = 1000, 1024 * 1024
"""The most emissions, and bytes of them, that wait for a Redis that does not answer.

Also the most volatile ones that were sent and not answered yet.
"""


class BoundedPublisher:
    """Publishes emissions; bounds how many wait, and notifies rooms of what a failover may lose."""

    def __init__(self, names: RedisNames, servers: Servers) -> None:
        self._names = names
        self._servers = servers
        self._loop = asyncio.get_running_loop()  # to get it takes a system call in Python 3.11
        self._sender = Sender(servers)
        self._failovers = FailoverNotices(names, servers)
        self._count = 0
        self._bytes = 0
        self._volatile_count = 0
        self._volatile_bytes = 0
        self._slots = asyncio.Semaphore(MOST_WAITING[0])
        self._stopped = False

    @property
    def waiting(self) -> int:
        """How many emissions Redis has not confirmed yet."""
        return self._count + self._volatile_count

    async def publish(self, emission: Emission) -> int | None:
        """Return once the script has carried the emission out.

        Returns:
            how many workers heard it; None if that is unknown, because it was sent again.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`, or too
                many emissions wait already.

        """
        called_at = self._loop.time()
        channel = self._names.channel(emission.sequence)
        size = len(emission.payload)
        await self._wait_for_slot(channel, size)
        self._count += 1
        self._bytes += size
        try:
            pending = self._sender.add(channel, emission, called_at)
            try:
                heard = await pending.future
            finally:
                self._sender.remove(pending)
        finally:
            self._slots.release()
            self._count -= 1
            self._bytes -= size
        if self._servers.fails_over:
            self._failovers.remember(emission.sequence, pending.run_id)
        return heard

    def publish_volatile(self, emission: Emission) -> asyncio.Future[Any] | None:
        """Publish a volatile emission at most once, without waiting; may drop it.

        Returns:
            a future of Redis' answer, which is the number of workers or an exception; None if it
            was dropped.

        """
        size = len(emission.payload)
        most, most_bytes = MOST_WAITING
        full = self._volatile_count >= most or (
            self._volatile_count and self._volatile_bytes + size > most_bytes
        )
        if full or self._stopped:
            return None
        channel = self._names.channel(emission.sequence)
        answer = self._sender.send_volatile(channel, emission)
        if answer is not None:
            self._volatile_count += 1
            self._volatile_bytes += size
            answer.add_done_callback(partial(self._volatile_answered, size))
        return answer

    def _volatile_answered(self, size: int, answer: asyncio.Future[Any]) -> None:
        self._volatile_count -= 1
        self._volatile_bytes -= size

    async def _wait_for_slot(self, channel: str, size: int) -> None:
        link = self._servers.link_for(channel)
        if link is None or not link.responsive:
            most, most_bytes = MOST_WAITING
            if self._count >= most or (self._count and self._bytes + size > most_bytes):
                raise AdapterError("Redis does not answer, and too many emissions already wait")
        if self._slots.locked():
            timeout = self._servers.timing.redis_timeout
            try:
                async with asyncio.timeout(timeout):
                    await self._slots.acquire()
            except TimeoutError:
                raise AdapterError(
                    f"Redis did not accept the emission within {timeout:g} s"
                ) from None
        else:
            await self._slots.acquire()  # does not suspend
        if self._stopped:
            self._slots.release()
            raise AdapterError("the adapter has stopped")

    def connected(self) -> None:
        """A server is connected, maybe another one than before: send the emissions that wait.

        Rooms whose last emissions may be lost with the former server are notified first, before
        anything new can be received from this one. A deposed master may have accepted emissions
        when the other workers were connected to the new one already, so only this worker knows.
        """
        if self._servers.fails_over:
            self._failovers.notify()
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send the emissions that wait, in order."""
        self._failovers.send_waiting()
        self._sender.send_waiting()

    def stop(self) -> None:
        """Accept no more emissions; those that wait fail."""
        self._stopped = True
        self._sender.stop()
        self._failovers.stop()


class PublishingClient:
    """The connections of a publisher, which receives nothing, from its first emit to its close."""

    def __init__(
        self, source: Any, names: RedisNames, history: HistorySettings, timing: Timing
    ) -> None:
        topology = read_topology(source)
        settings = network_settings(
            names, history, sharded=topology.sharded, subscribes=False, timing=timing
        )
        self.servers = Servers(topology, self, settings)
        self.publisher = BoundedPublisher(names, self.servers)
        self.presence = RedisPresence(names, self.servers)

    async def stop(self) -> None:
        """End the connections."""
        self.publisher.stop()
        await self.servers.stop()

    def connected(self, link: Link) -> None:
        """Send the emissions that waited, and notify rooms of what a failover may have lost."""
        self.publisher.connected()

    def can_retry(self) -> None:
        """Send the emissions that the server refused temporarily."""
        self.publisher.send_waiting()

    def disconnected(self, link: Link) -> None:
        """Nothing is received from there."""

    def places_changed(self) -> None:
        """Nothing is received from anywhere."""

    def subscribed(self, channel: str) -> None:
        """Nothing is subscribed."""

    def unsubscribed(self, channel: str, place: str) -> None:
        """Nothing was subscribed."""

    def received(self, channel: str, data: bytes) -> None:
        """Nothing is received."""
