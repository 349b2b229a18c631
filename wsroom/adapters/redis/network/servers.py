"""The servers that an app's Redis consists of now, and what happens when they change."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from redis.exceptions import NoScriptError, RedisError

from wsroom.adapters.redis.network.link import Link, NetworkSettings
from wsroom.adapters.redis.network.link import Owner as LinkOwner
from wsroom.adapters.redis.network.retryable import Lost, is_passing
from wsroom.adapters.redis.network.topology import Topology
from wsroom.errors import AdapterError

logger = logging.getLogger("wsroom")


class Owner(LinkOwner, Protocol):
    """Whoever publishes and hears through the links."""

    def moved(self) -> None:
        """Other servers may serve some channels now."""


class Links:
    """A link for each place that is needed, made when it is; one log line for each outage."""

    def __init__(self, topology: Topology, owner: Owner, settings: NetworkSettings) -> None:
        self._topology = topology
        self._owner = owner
        self._settings = settings
        self.timing = settings.timing
        self._links: dict[str, Link] = {}
        self._changed = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._away_since: float | None = None
        self._said_away = False
        self._stopped = False
        self._unsure = False  # somebody has no place, or nobody could tell where things are
        self.confirmed = 0.0
        """When all servers that are used were last known to be the right ones, in seconds."""
        self.subscribed = owner.subscribed
        self.unsubscribed = owner.unsubscribed
        self.heard = owner.heard

    @property
    def fails_over(self) -> bool:
        """Whether another server may take over, without the last messages of the one before."""
        return self._topology.fails_over

    @property
    def shards(self) -> bool:
        """Whether there are several servers at a time, each for some of the channels."""
        return self._topology.shards

    @property
    def healthy(self) -> bool:
        """Whether all servers that are needed answer, and what is published there is heard."""
        return bool(self._links) and all(link.healthy for link in self._links.values())

    @property
    def problem(self) -> str:
        """Why Redis cannot be used, as far as it is known."""
        problems = {str(link.problem) or repr(link.problem) for link in self._links.values()}
        return "; ".join(sorted(problems - {"None"})) or "it does not answer"

    async def start(self, key: str, *commands: tuple[Any, ...]) -> list[Any]:
        """Connect, and run the first commands, where `key` lives; return the answers.

        Raises:
            AdapterError: it is not, or cannot be used, within `Timing.start_timeout`.

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
        self._tending = asyncio.get_running_loop().create_task(self._tend(), name="wsroom: Redis")
        return answers

    async def ask(self, channel: str, words: tuple[Any, ...]) -> Any:
        """Send a command, or a script by its name, to where `channel` lives; return the answer.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`.

        """
        refusal: Exception | None = None
        timeout = self.timing.redis_timeout
        try:
            async with asyncio.timeout(timeout):
                while True:
                    link = await self.wait_for(channel)
                    changed = self._changed  # it may change before we hear of the refusal
                    answer = await link.ask(words)
                    if not isinstance(answer, Exception):
                        return answer
                    refusal = answer
                    if not is_passing(answer):
                        raise AdapterError(f"Redis refused: {answer}") from answer
                    self.retry(answer)
                    await changed.wait()
        except TimeoutError:
            raise AdapterError(
                f"Redis did not answer within {timeout:g} s: {refusal or self.problem}"
            ) from refusal

    async def stop(self) -> None:
        """End all connections; none is made any more."""
        self._stopped = True
        for task in (self._tending, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        links, self._links = self._links, {}
        for link in links.values():
            await link.stop()
        await self._topology.close()

    def place(self, channel: str) -> str | None:
        """The place of a channel; None where nobody serves it now."""
        place = self._topology.place(channel)
        if place is None:
            self._unsure = True
        return place

    def at(self, place: str | None) -> Link | None:
        """The link to a place, made where there is none."""
        if place is None or self._stopped:
            return None
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = Link(self._topology, place, self, self._settings)
        return link

    def find(self, place: str | None) -> Link | None:
        """The link to a place, if there is one."""
        return None if place is None else self._links.get(place)

    def route(self, channel: str) -> Link | None:
        """The link to where a channel lives."""
        return self.at(self.place(channel))

    async def wait_for(self, channel: str) -> Link:
        """The link to where a channel lives, once it is up; for ever where it never is."""
        while True:
            link = self.route(channel)
            if link is not None and link.up:
                return link
            await self._changed.wait()

    def retry(self, refusal: Exception) -> None:
        """See to it that the owner is told when it may try again."""
        if not isinstance(refusal, (Lost, NoScriptError)):  # the link tells of these
            self.look_again()

    def look_again(self) -> None:
        """Something was refused: learn where things are now, soon, and try it again."""
        if self._looking is None or self._looking.done():
            look = self._look()
            self._looking = asyncio.get_running_loop().create_task(look, name="wsroom: Redis")

    async def _look(self) -> None:
        await asyncio.sleep(self.timing.retry_after)
        asked = asyncio.get_running_loop().time()
        self._unsure = True
        try:
            async with asyncio.timeout(self.timing.start_timeout):
                await self._topology.refresh()
        except (RedisError, OSError, TimeoutError) as exc:
            logger.debug("where Redis' servers are is not known: %r", exc)
        else:
            self._unsure = False
            await self._forget(self._topology.places())
            self._check_links(asked)
            self._owner.moved()
        self._change()
        self._owner.can_retry()

    def _check_links(self, asked: float) -> None:
        right = True
        for link in self._links.values():
            if link.up and self._topology.moved(link.place, link.address):
                link.replace()
                right = False
            right = right and link.up
        if right:
            self.confirmed = asked

    async def _forget(self, places: set[str]) -> None:
        for place in self._links.keys() - places:
            await self._links.pop(place).stop()

    # -- what a link tells -----------------------------------------------------------------

    def came_up(self, link: Link) -> None:
        """It is connected."""
        self._owner.came_up(link)
        self._change()

    def went_down(self, link: Link) -> None:
        """It is not connected any more."""
        self._owner.went_down(link)

    def can_retry(self) -> None:
        """What the server did not know it knows again."""
        self._change()
        self._owner.can_retry()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _tend(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.timing.refresh_interval)
            self._say(loop.time())
            all_up = all(link.up for link in self._links.values())
            # A deposed master that comes back takes what it is told for as long as the Sentinels
            # let it, and nobody hears it: it must not be asked any more.
            looks = self._topology.fails_over and not (self._topology.shards and all_up)
            if looks or self._unsure:
                self.look_again()

    def _say(self, now: float) -> None:
        if self.healthy:
            if self._said_away:
                away = now - (self._away_since or now)
                logger.warning("Redis at %s is back after %.0f s", self._topology.url, away)
            self._away_since, self._said_away = None, False
            return
        if self._away_since is None:
            self._away_since = now
        if not self._said_away and now - self._away_since >= self.timing.outage_after:
            self._said_away = True
            logger.warning("Redis at %s is away: %s", self._topology.url, self.problem)
