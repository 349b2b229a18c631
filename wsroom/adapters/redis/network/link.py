"""The connections to one Redis server, which live and end together."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import RedisError

from wsroom.adapters.redis.network.commands import Commands, Scripts
from wsroom.adapters.redis.network.retryable import ConnectionBroken
from wsroom.adapters.redis.network.subscriptions import SubscriptionListener, Subscriptions
from wsroom.adapters.redis.network.topology import ServerConnection, Topology
from wsroom.timing import DEFAULT_TIMING, Timing

logger = logging.getLogger("wsroom.redis")

BACKOFF = 0.05, 1.0
"""Seconds between attempts to connect: at first, and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What all connections of an adapter or a publisher have in common."""

    scripts_for: Callable[[str], Scripts]
    """Returns the scripts for the server with this run_id; they are loaded into it."""
    heartbeat_channel: str
    """What the names of heartbeat channels begin with."""
    subscribes: bool = True
    """Whether each server gets a second connection, for subscriptions."""
    timing: Timing = DEFAULT_TIMING


class LinkListener(SubscriptionListener, Protocol):
    """What is notified about a link."""

    def connected(self, link: Link) -> None:
        """The link is connected; nothing is subscribed yet."""

    def disconnected(self, link: Link) -> None:
        """The link is not connected any more; it tries again by itself."""

    def can_retry(self) -> None:
        """Commands that the server refused temporarily may be sent again."""


class Link:
    """Keeps the connections to the server of one place: one for commands, one for subscriptions.

    redis-py's own client and PubSub reconnect silently. Here, if anything happens to one of the
    connections, both are ended and made again, and the listener is notified.
    """

    def __init__(
        self, topology: Topology, place: str, listener: LinkListener, settings: NetworkSettings
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._topology = topology
        self._listener = listener
        self._settings = settings
        self._timing = settings.timing
        self.place = place
        self.connected = False
        self.problem: BaseException | None = None
        """Why it is not connected."""
        self.run_id = ""
        """Names the server process that it is, or was last, connected to."""
        self.address = ""
        """The address of that server."""
        self._heartbeat_channel = f"{settings.heartbeat_channel}:{secrets.token_hex(8)}"
        self._heartbeat_at = 0.0
        self._beat_sent: float | None = None  # the first one that has not come back
        self._lag = 0.0  # of the last one that has
        self._steady = False  # there was a heartbeat since it was connected
        self.commands = Commands(
            on_wrong_server=self.reconnect, on_scripts_loaded=listener.can_retry
        )
        self.subscriptions = Subscriptions(
            place,
            listener,
            heartbeat_channel=self._heartbeat_channel,
            on_heartbeat=self._note_heartbeat,
            sharded=topology.sharded,
        )
        self._beating: asyncio.Task[None] | None = None
        self._task = self._loop.create_task(self._run(), name="wsroom: Redis")

    @property
    def healthy(self) -> bool:
        """Whether it is connected, and the last heartbeat is recent."""
        return self.connected and (
            self._loop.time() - self._heartbeat_at < self._timing.unhealthy_after
        )

    @property
    def responsive(self) -> bool:
        """Whether it is connected, and the server answers commands at once."""
        return self.connected and self.commands.responsive

    def reconnect(self) -> None:
        """Replace the connections, since another server has this place now."""
        if self._beating is not None:
            self._beating.cancel()

    async def stop(self) -> None:
        """End the connections."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        delay = BACKOFF[0]
        while True:
            servers: list[ServerConnection] = []
            try:
                await self._connect(servers)
                await self._stay_connected()
            except (RedisError, OSError, TimeoutError) as exc:
                self.problem = exc
                logger.debug("%s cannot be reached: %r", self._topology.url, exc)
            except Exception as exc:  # whatever it is, the next attempt must follow
                self.problem = exc
                logger.exception("a connection to %s failed", self._topology.url)
            finally:
                self._disconnect()
                for server in servers:
                    await server.close()
            if self._steady:
                delay = BACKOFF[0]
            await asyncio.sleep(random.uniform(delay / 2, delay))
            delay = min(delay * 2, BACKOFF[1])

    async def _connect(self, servers: list[ServerConnection]) -> None:
        for _ in range(2 if self._settings.subscribes else 1):
            servers.append(await self._topology.connect(self.place, self._timing.connect_timeout))
        server = servers[0]
        self.run_id, self.address = server.run_id, server.address
        if servers[-1].run_id != self.run_id:
            raise ConnectionBroken("the two connections lead to two servers")
        async with asyncio.timeout(self._timing.reconnect_after):
            await self.commands.open(server, self._settings.scripts_for(self.run_id))
        if self._settings.subscribes:
            self.subscriptions.open(servers[1].connection)

    async def _stay_connected(self) -> None:
        self._heartbeat_at, self._beat_sent = self._loop.time(), None
        self.connected, self.problem, self._steady = True, None, False
        loops = [self._beat(), *self.commands.loops()]
        if self._settings.subscribes:
            loops += self.subscriptions.loops()
        tasks = [self._loop.create_task(loop, name="wsroom: Redis") for loop in loops]
        self._beating = tasks[0]
        try:
            self._listener.connected(self)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (exc := task.exception()) is not None:
                self.problem = exc
                if not isinstance(exc, (RedisError, OSError, TimeoutError)):
                    logger.error("the connection to Redis failed", exc_info=exc)
        logger.info("a connection to %s ended: %s", self._topology.url, self.problem)

    def _disconnect(self) -> None:
        was_connected, self.connected = self.connected, False
        self.subscriptions.close()
        self.commands.close()
        if was_connected:
            self._listener.disconnected(self)

    @property
    def lag(self) -> float:
        """Seconds that the last heartbeat took, or for which one has been missing if it is more."""
        missing = 0.0 if self._beat_sent is None else self._loop.time() - self._beat_sent
        return max(missing, self._lag)

    # -- the heartbeat ---------------------------------------------------------------------

    async def _beat(self) -> None:
        # Sent on the connection for commands, and received on the one for subscriptions: a frozen
        # or deposed master breaks neither connection.
        timing = self._timing
        ping: tuple[str, ...] = ("PING",)
        if self._settings.subscribes:
            ping = ("PUBLISH", self._heartbeat_channel, "")
        while True:
            self.commands.send(ping, self._note_answer)
            sent = self._loop.time()
            if self._steady and self._beat_sent is None:  # the first may precede its subscription
                self._beat_sent = sent
            await asyncio.sleep(timing.heartbeat_interval)
            if self._loop.time() - sent > 2 * timing.heartbeat_interval:
                continue  # this process stood still; the messages that it missed are read first
            if self._loop.time() - self._heartbeat_at > timing.reconnect_after:
                raise ConnectionBroken(f"no heartbeat for {timing.reconnect_after:g} s")

    def _note_answer(self, answer: Any) -> None:
        if not self._settings.subscribes and not isinstance(answer, ConnectionBroken):
            self._note_heartbeat()

    def _note_heartbeat(self) -> None:
        self._heartbeat_at = self._loop.time()
        if self._beat_sent is not None:
            self._lag, self._beat_sent = self._heartbeat_at - self._beat_sent, None
        self._steady = True
