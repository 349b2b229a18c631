"""The adapter for several workers: Redis gives each room its one order, and carries it to all."""

from __future__ import annotations

import asyncio
import contextlib

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from wsroom.adapters.base import Adapter
from wsroom.adapters.redis.codec import Names
from wsroom.adapters.redis.network.url import read_topology
from wsroom.adapters.redis.receiver import Listener
from wsroom.adapters.redis.scripts import UNUSED_TTL, Keeping
from wsroom.errors import AdapterError, SetupError
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset

CHECK_TIMEOUT = 10.0
"""Seconds for `check_servers`, all servers together."""
SETTINGS_TTL = 24 * 3600
"""Seconds that the settings outlive the last worker."""


class RedisAdapter(Adapter):
    """Carries emissions between workers and hosts through Redis 7 or Valkey 8, or later ones.

    Every emission goes to Redis, which gives it its place in its room's order, and comes back to
    all workers that have members there, this one too. A worker that missed something, whatever the
    reason, notices it by the gap in the numbers and reads it again; where it is not kept any more,
    the room's members are told (`resync`).

    Args:
        source: `redis://host:6379`, `rediss://`, `unix:///path`, `redis+sentinel://host:26379,
            host:26379/master`, `redis+cluster://host:6379`; or an asyncio client of redis-py, which
            is taken as the description of where to connect.
        prefix: what the names of all keys and channels begin with; apps with different ones do not
            meet.
        history: emissions kept for each room, for clients that come back; 0 keeps none, and still
            notices every gap.
        ttl: seconds for which they are kept after the room's last one.
        trust_persistence: whether a server that was started again goes on where it stopped: only
            where it writes everything to disk (`appendonly yes`). Without it a new start of Redis
            is a new beginning, and clients are told to reload their state.

    Raises:
        SetupError: the URL or a number cannot be used, or persistence is trusted where a failover
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
        self._names = Names(prefix)
        self._topology = read_topology(source)
        if trust_persistence and self._topology.fails_over:
            raise SetupError(
                "trust_persistence: a failover of Sentinel or Cluster may lose the last messages; "
                "leave it out"
            )
        self._keeping = Keeping(history, ttl, trust_persistence)
        self._listener: Listener | None = None

    @property
    def healthy(self) -> bool:
        """Whether Redis answers, and what is published there is heard."""
        return self._listener is not None and self._listener.links.healthy

    @property
    def foreign(self) -> int:
        """Messages on our channels that were none of ours, since the start; they are dropped."""
        return 0 if self._listener is None else self._listener.foreign

    async def start(self, deliver: Deliver) -> None:
        if self._listener is not None:
            raise SetupError("a RedisAdapter serves one app; make one for each")
        self._listener = Listener(self._topology, self._names, self._keeping, deliver, self._timing)
        try:
            await self._listener.links.start(self._names.settings, *self._settings())
        except BaseException:
            await self.stop(deliver)
            raise
        self._listener.spawn(self._keep_states(self._listener))

    async def stop(self, deliver: Deliver) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()

    def abandon(self, deliver: Deliver) -> None:
        self._listener = None  # its tasks and connections have ended with their event loop

    async def check_servers(self) -> str:
        """Connect to each server once, whether the adapter has started or not.

        Returns:
            the URL, without a password, and the versions of the servers.

        Raises:
            AdapterError: a server cannot be used, or the check took more than 10 s.

        """
        servers = read_topology(self._source)  # its own connections, so that it disturbs no others
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
        await self._running().sequencer.publish(emission)

    async def subscribe(self, room: Room) -> Offset | None:
        return await self._running().subscribe(room)

    async def read(self, room: Room, since: Offset | None) -> Past:
        return await self._running().read(room, since)

    def unsubscribe(self, room: Room) -> None:
        if self._listener is not None:
            self._listener.unsubscribe(room)

    def _running(self) -> Listener:
        if self._listener is None:
            raise AdapterError("the adapter has not started, or has stopped")
        return self._listener

    def _settings(self) -> tuple[tuple[str | int, ...], ...]:
        # For publishers in other processes, which must keep as much as we do.
        key = self._names.settings
        return ("HSET", key, *self._keeping.to_fields()), ("EXPIRE", key, SETTINGS_TTL)

    async def _keep_states(self, listener: Listener) -> None:
        # However quiet our rooms are, their positions must not expire.
        while True:
            await asyncio.sleep(UNUSED_TTL / 3)
            with contextlib.suppress(AdapterError):  # the next round is soon enough
                for words in self._settings():
                    await listener.links.ask(self._names.settings, words)
            for feed in list(listener.feeds.values()):
                if feed.live:
                    with contextlib.suppress(AdapterError):
                        await listener.reader.read(feed, feed.epoch or "", feed.seq, 0)
