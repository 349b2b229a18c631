"""The adapter for several workers: Redis gives each room one order, and carries it to all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from wsroom.adapters.base import Adapter
from wsroom.adapters.presence import PresenceAdapter
from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.url import read_topology
from wsroom.adapters.redis.receiver import Receiver
from wsroom.adapters.redis.scripts import HistorySettings
from wsroom.errors import AdapterError, SetupError
from wsroom.stats import AdapterStats
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset
from wsroom.wire.presence import PresenceAnswer, Step

CHECK_TIMEOUT = 10.0
"""Seconds for `check_servers`, all servers together."""
SETTINGS_TTL = 24 * 3600
"""Seconds that the settings outlive the last worker."""
REFRESH_INTERVAL = 200.0
"""Seconds after which the positions of subscribed rooms are read again."""


class RedisAdapter(Adapter, PresenceAdapter):
    """Carries emissions between workers and hosts, through Redis 7 or Valkey 8 or later.

    Every emission goes to Redis, which gives it a place in its room's order, and is delivered to
    all workers that have members there, this one included. If a worker missed emissions, for
    whatever reason, it notices the gap in their numbers and reads them from the history. If they
    are not kept any more, the room's members are notified (`resync`). It has presence.

    Args:
        source: `redis://host:6379`, `rediss://`, `unix:///path`, `redis+sentinel://host:26379,
            host:26379/master`, `redis+cluster://host:6379`; or an asyncio client of redis-py, of
            which only the address and the options are used.
        prefix: the beginning of the names of all keys and channels; apps with different prefixes
            do not share rooms.
        history: emissions kept for each room, for clients that reconnect; with 0 none is kept, and
            gaps are still noticed.
        ttl: seconds for which they are kept after the room's last one.
        trust_persistence: whether rooms continue after a restart of Redis. Use it only if Redis
            writes everything to disk (`appendonly yes`). Without it, clients are notified after a
            restart that they must reload their state.

    Raises:
        SetupError: the URL or a number is invalid, or persistence is trusted although a failover
            can lose the last messages (Sentinel, Cluster).

    """

    def __init__(
        self,
        source: str | Redis | RedisCluster,
        *,
        prefix: str = "wsroom",
        history: int = 100,
        ttl: int = 300,
        trust_persistence: bool = False,
        _timing: Timing = DEFAULT_TIMING,
    ) -> None:
        if history < 0 or ttl <= 0:
            raise SetupError(f"history={history!r}, ttl={ttl!r}; use 0 or more, and above 0")
        self._source = source
        self._timing = _timing
        self._names = RedisNames(prefix)
        self._topology = read_topology(source)
        if trust_persistence and self._topology.fails_over:
            raise SetupError(
                "trust_persistence: a failover of Sentinel or Cluster may lose the last messages; "
                "leave it out"
            )
        self._history = HistorySettings(history, ttl, trust_persistence)
        self._receiver: Receiver | None = None
        self._gaps_filled = 0  # by former receivers

    @property
    def healthy(self) -> bool:
        """Whether Redis answers, and messages that are published there are received."""
        return self._receiver is not None and self._receiver.servers.healthy

    @property
    def foreign(self) -> int:
        """How many messages of other programs came through its channels; they are dropped."""
        return 0 if self._receiver is None else self._receiver.foreign

    def stats(self) -> AdapterStats:
        receiver = self._receiver
        if receiver is None:
            return AdapterStats(gaps_filled=self._gaps_filled)
        return AdapterStats(
            lag=receiver.servers.lag,
            waiting=receiver.publisher.waiting,
            gaps_filled=self._gaps_filled + receiver.gaps_filled,
        )

    async def start(self, deliver: Deliver) -> None:
        if self._receiver is not None:
            raise SetupError("a RedisAdapter serves one app; make one for each")
        receiver = Receiver(self._topology, self._names, self._history, deliver, self._timing)
        self._receiver = receiver
        try:
            await receiver.servers.start(self._names.settings, *self._write_settings())
        except BaseException:
            await self.stop(deliver)
            raise
        receiver.spawn(self._prevent_expiry(receiver))

    async def stop(self, deliver: Deliver) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self._gaps_filled += receiver.gaps_filled
            await receiver.stop()

    def abandon(self, deliver: Deliver) -> None:
        self._receiver = None  # its tasks and connections have ended with their event loop

    async def check_servers(self) -> str:
        """Connect to each server once, whether the adapter has started or not.

        Returns:
            the URL, without a password, and the versions of the servers.

        Raises:
            AdapterError: a server cannot be used, or the check took more than 10 s.

        """
        servers = read_topology(self._source)  # its own connections, which disturb no others
        versions = set()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await servers.refresh()
                for place in servers.places():
                    server = await servers.connect(place, self._timing.connect_timeout)
                    versions.add(server.version)
                    await server.close()
        except (RedisError, OSError) as exc:
            reason = str(exc) or "no answer"
            raise AdapterError(f"{servers.url} cannot be used: {reason}") from exc
        finally:
            await servers.close()
        return f"{servers.url} is {', '.join(sorted(versions))}"

    async def publish(self, emission: Emission) -> None:
        publisher = self._running().publisher
        if emission.volatile:
            publisher.publish_volatile(emission)
        else:
            await publisher.publish(emission)

    async def subscribe(self, room: Room) -> Offset | None:
        return await self._running().subscribe(room)

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        return await self._running().read(room, since, last)

    def unsubscribe(self, room: Room) -> None:
        if self._receiver is not None:
            self._receiver.unsubscribe(room)

    async def change_presence(
        self, room: Room, worker: str, number: int, steps: Sequence[Step] = (), *, whole: bool
    ) -> PresenceAnswer:
        presence = self._running().presence
        return await presence.change(room, worker, number, steps, whole=whole)

    async def stamp_presence(self, worker: str) -> Mapping[str, int]:
        return await self._running().presence.stamp(worker)

    async def unstamp_presence(self, worker: str) -> None:
        await self._running().presence.unstamp(worker)

    def _running(self) -> Receiver:
        if self._receiver is None:
            raise AdapterError("the adapter has not started, or has stopped")
        return self._receiver

    def _write_settings(self) -> tuple[tuple[str | int, ...], ...]:
        # For publishers in other processes, which must keep as much history as workers do.
        key = self._names.settings
        return ("HSET", key, *self._history.to_fields()), ("EXPIRE", key, SETTINGS_TTL)

    async def _prevent_expiry(self, receiver: Receiver) -> None:
        # The positions of subscribed rooms must not expire, even if nothing is emitted there.
        while True:
            await asyncio.sleep(REFRESH_INTERVAL)
            with contextlib.suppress(AdapterError):  # the next round is soon enough
                for words in self._write_settings():
                    await receiver.servers.ask(self._names.settings, words)
            for feed in list(receiver.feeds.values()):
                if feed.live:
                    with contextlib.suppress(AdapterError):
                        await receiver.refresh(feed)
