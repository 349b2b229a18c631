"""The servers that an app's Redis consists of, and what happens when they change."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from redis.exceptions import NoScriptError, RedisError

from wsroom.adapters.redis.network.link import Link, LinkListener, NetworkSettings
from wsroom.adapters.redis.network.retryable import ConnectionBroken, is_retryable
from wsroom.adapters.redis.network.topology import Topology
from wsroom.errors import AdapterError
from wsroom.logs import LogOnce

logger = logging.getLogger("wsroom.redis")


class ServersListener(LinkListener, Protocol):
    """What publishes and receives messages through the servers."""

    def places_changed(self) -> None:
        """Some channels may have another place now."""


class Servers:
    """Has a link to each place that is used, made at the first use; logs each outage once."""

    def __init__(
        self, topology: Topology, listener: ServersListener, settings: NetworkSettings
    ) -> None:
        self._topology = topology
        self._listener = listener
        self._settings = settings
        self.timing = settings.timing
        self._links: dict[str, Link] = {}
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._unhealthy_since: float | None = None
        self._outage = LogOnce()
        self._stopped = False
        self._outdated = False  # a channel has no place, or the last refresh failed
        self.confirmed_at = 0.0
        """When all servers that are used were last known to be the right ones, in seconds."""
        # Handed on without a function in between: messages come this way.
        self.subscribed = listener.subscribed
        self.unsubscribed = listener.unsubscribed
        self.received = listener.received

    @property
    def fails_over(self) -> bool:
        """Whether another server may take over, without the last messages of the former one."""
        return self._topology.fails_over

    @property
    def sharded(self) -> bool:
        """Whether there are several servers at a time, each for some of the channels."""
        return self._topology.sharded

    @property
    def healthy(self) -> bool:
        """Whether all servers that are used are connected and answer."""
        return bool(self._links) and all(link.healthy for link in self._links.values())

    @property
    def lag(self) -> float | None:
        """The longest lag of the servers that are used, in seconds; None without a server."""
        return max([link.lag for link in self._links.values()], default=None)

    @property
    def problem(self) -> str:
        """Why Redis cannot be used, as far as that is known."""
        problems = {str(link.problem) or repr(link.problem) for link in self._links.values()}
        return "; ".join(sorted(problems - {"None"})) or "it does not answer"

    async def start(self, key: str, *commands: tuple[Any, ...]) -> list[Any]:
        """Connect, and send the first commands to the server of `key`; return the answers.

        Raises:
            AdapterError: Redis cannot be used within `Timing.start_timeout`.

        """
        problem: Exception | None = None
        try:
            async with asyncio.timeout(self.timing.start_timeout):
                while True:
                    try:
                        await self._topology.refresh()
                        break
                    except (RedisError, OSError) as exc:
                        problem = exc
                        await asyncio.sleep(self.timing.retry_after)
                problem = None
                answers = [await self.ask(key, words) for words in commands]
        except TimeoutError:
            reason = self.problem if problem is None else problem
            raise AdapterError(
                f"Redis at {self._topology.url} cannot be used: {reason}; start it, or set "
                "another URL"
            ) from problem
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="wsroom: Redis")
        return answers

    async def ask(self, channel: str, words: tuple[Any, ...]) -> Any:
        """Send a command, or a script by its name, to the server of `channel`; return the answer.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`.

        """
        refusal: Exception | None = None
        timeout = self.timing.redis_timeout
        try:
            async with asyncio.timeout(timeout):
                while True:
                    link = await self._connected_link(channel)
                    changed = self._changed  # it may change before this task has the answer
                    answer = await link.commands.ask(words)
                    if not isinstance(answer, Exception):
                        return answer
                    refusal = answer
                    if not is_retryable(answer):
                        raise AdapterError(f"Redis refused: {answer}") from answer
                    self.schedule_retry(answer)
                    await changed.wait()
        except TimeoutError:
            raise AdapterError(
                f"Redis did not answer within {timeout:g} s: {refusal or self.problem}"
            ) from refusal

    async def stop(self) -> None:
        """End all connections, and make no others."""
        self._stopped = True
        for task in (self._watching, self._refreshing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        links, self._links = self._links, {}
        for link in links.values():
            await link.stop()
        await self._topology.close()

    # -- places and links ------------------------------------------------------------------

    def place(self, channel: str) -> str | None:
        """Return the place of a channel; None if no server has it now."""
        place = self._topology.place(channel)
        if place is None:
            self._outdated = True
        return place

    def link_to(self, place: str | None) -> Link | None:
        """Return the link to a place; make one if there is none."""
        if place is None or self._stopped:
            return None
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = Link(self._topology, place, self, self._settings)
        return link

    def existing_link(self, place: str | None) -> Link | None:
        """Return the link to a place, if there is one."""
        return None if place is None else self._links.get(place)

    def link_for(self, channel: str) -> Link | None:
        """Return the link to the place of a channel."""
        return self.link_to(self.place(channel))

    async def _connected_link(self, channel: str) -> Link:
        while True:
            link = self.link_for(channel)
            if link is not None and link.connected:
                return link
            await self._changed.wait()

    # -- retries and changes of places -----------------------------------------------------

    def schedule_retry(self, refusal: Exception) -> None:
        """Make sure that the listener is notified when it may try again."""
        # After these two the link notifies it.
        if not isinstance(refusal, (ConnectionBroken, NoScriptError)):
            self.refresh_soon()

    def refresh_soon(self) -> None:
        """Find the places again, in a moment, and then let the listener try again."""
        if self._refreshing is None or self._refreshing.done():
            refresh = self._refresh()
            self._refreshing = asyncio.get_running_loop().create_task(refresh, name="wsroom: Redis")

    async def _refresh(self) -> None:
        await asyncio.sleep(self.timing.retry_after)
        asked_at = asyncio.get_running_loop().time()
        self._outdated = True
        try:
            async with asyncio.timeout(self.timing.start_timeout):
                await self._topology.refresh()
        except (RedisError, OSError, TimeoutError) as exc:
            logger.debug("the servers of Redis could not be found: %r", exc)
        else:
            self._outdated = False
            await self._keep_links_to(self._topology.places())
            self._check_links(asked_at)
            self._listener.places_changed()
        self.can_retry()

    async def _keep_links_to(self, places: set[str]) -> None:
        for place in self._links.keys() - places:
            await self._links.pop(place).stop()

    def _check_links(self, asked_at: float) -> None:
        right = True
        for link in self._links.values():
            if link.connected and self._topology.moved(link.place, link.address):
                link.reconnect()
                right = False
            right = right and link.connected
        if right:
            self.confirmed_at = asked_at

    # -- notifications from links ----------------------------------------------------------

    def connected(self, link: Link) -> None:
        """The link is connected: those who wait for it can go on."""
        self._listener.connected(link)
        self._wake_waiting()

    def disconnected(self, link: Link) -> None:
        """The link is not connected any more."""
        self._listener.disconnected(link)

    def can_retry(self) -> None:
        """Refused commands may be sent again."""
        self._wake_waiting()
        self._listener.can_retry()

    def _wake_waiting(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # -- watching --------------------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.timing.refresh_interval)
            self._log_outage(loop.time())
            # A deposed master that is reachable again accepts emissions until the Sentinels demote
            # it, and no other worker receives them: this worker must leave it as soon as possible.
            connected = all(link.connected for link in self._links.values())
            refresh = self._topology.fails_over and not (self._topology.sharded and connected)
            if refresh or self._outdated:
                self.refresh_soon()

    def _log_outage(self, now: float) -> None:
        if self.healthy:
            if self._outage.reset():
                seconds = now - (self._unhealthy_since or now)
                logger.warning(
                    "Redis at %s is available again after %.0f s", self._topology.url, seconds
                )
            self._unhealthy_since = None
            return
        if self._unhealthy_since is None:
            self._unhealthy_since = now
        if now - self._unhealthy_since >= self.timing.outage_after and self._outage.due():
            logger.warning("Redis at %s is unavailable: %s", self._topology.url, self.problem)
