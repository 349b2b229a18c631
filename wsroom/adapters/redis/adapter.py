"""The adapter for several workers: Redis gives each room its one order, and carries it to all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio import Redis, RedisCluster

from wsroom.adapters.base import RESYNC, Adapter, Deliver, Emission, Past
from wsroom.adapters.redis.feeds import Feed, Verdict
from wsroom.adapters.redis.link import Link
from wsroom.adapters.redis.links import RETRY_AFTER, Links
from wsroom.adapters.redis.reader import Read, Reader
from wsroom.adapters.redis.records import Names, Record, decode_record
from wsroom.adapters.redis.scripts import STATE_TTL, Keeping
from wsroom.adapters.redis.sequencer import PATIENCE, Sequencer
from wsroom.adapters.redis.topology import topology
from wsroom.errors import AdapterError, SetupError
from wsroom.history import READ_ENTRIES, make_offset, parse_offset
from wsroom.rooms import Room

logger = logging.getLogger("wsroom")

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
    ) -> None:
        if history < 0 or ttl <= 0:
            raise SetupError(f"history={history!r}, ttl={ttl!r}; use 0 or more, and above 0")
        self._names = Names(prefix)
        self._topology = topology(source)
        if trust_persistence and self._topology.fails_over:
            raise SetupError(
                "trust_persistence: a failover of Sentinel or Cluster may lose the last messages; "
                "leave it out"
            )
        self._keeping = Keeping(history, ttl, trust_persistence)
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress: dict[str, asyncio.Event] = {}
        self._deliver: Deliver | None = None
        self.foreign = 0
        """Messages on our channels that were none of ours; they are dropped."""

    # -- what the hub asks for -------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether Redis answers, and what is published there is heard."""
        return self._deliver is not None and self._links.healthy

    async def start(self, deliver: Deliver) -> None:
        if self._deliver is not None:
            raise SetupError("a RedisAdapter serves one app; make one for each")
        self._links = Links(self._topology, self, self._keeping)
        self._reader = Reader(self._links)
        self._sequencer = Sequencer(self._names, self._links)
        self._deliver = deliver
        try:
            await self._links.start(self._names.settings)
            await self._write_settings()
        except BaseException:
            await self.stop(deliver)
            raise
        self._spawn(self._keep_states())

    async def stop(self, deliver: Deliver) -> None:
        self._deliver = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._sequencer.stop()
        await self._links.stop()
        self._feeds.clear()
        for event in self._progress.values():
            event.set()

    async def publish(self, emission: Emission) -> None:
        await self._sequencer.publish(emission)

    async def subscribe(self, room: Room) -> str | None:
        channel = self._names.channel(room)
        feed = self._feeds.get(channel)
        if feed is None:
            feed = self._feeds[channel] = Feed(room, channel)
            self._settle(feed)
        if not feed.live:
            await self._until(feed, lambda: feed.live)
        return feed.offset

    def unsubscribe(self, room: Room) -> None:
        channel = self._names.channel(room)
        feed = self._feeds.pop(channel, None)
        if feed is not None:
            self._leave_place(feed)
            self._tell_progress(channel)

    async def read(self, room: Room, since: str) -> Past:
        feed = self._feeds.get(self._names.channel(room))
        if feed is None:
            raise AdapterError(f"room {room.name!r} is not subscribed")
        if not feed.live:
            await self._until(feed, lambda: feed.live)
        if since == feed.offset:
            return Past(since, complete=True)
        position = parse_offset(since) or ("", 0)
        past = await self._reader.read(feed, *position, READ_ENTRIES)
        epoch, seq = past.epoch, past.seq
        if epoch != feed.epoch and feed.live:
            self._catch_up(feed)  # it has not noticed yet that its room began anew
        await self._until(feed, lambda: feed.live and (feed.epoch != epoch or feed.seq >= seq))
        told_lost = any(one.emission.kind == RESYNC for one in past.records or ())
        if past.records is None or told_lost or position[0] != epoch or epoch != feed.epoch:
            return Past(feed.offset, complete=False)
        emissions = ((one.emission, make_offset(one.epoch, one.seq)) for one in past.records)
        return Past(make_offset(epoch, seq), complete=True, emissions=tuple(emissions))

    # -- what the links tell ---------------------------------------------------------------

    def came_up(self, link: Link) -> None:
        """Subscribe to what lives there; what was missed is read as each is confirmed."""
        for feed in self._feeds_at(link):
            link.subscribe(feed.channel)
        self._sequencer.send_again()
        if self._links.fails_over:
            self._spawn(self._tell_doubts())

    async def _tell_doubts(self) -> None:
        with contextlib.suppress(AdapterError):  # the next link that comes up tells the rest
            await self._sequencer.tell_lost()

    def went_down(self, link: Link) -> None:
        """What is heard from there later does not follow what was heard before."""
        for feed in self._feeds_at(link):
            feed.break_off()

    def moved(self) -> None:
        """Other servers may serve some channels now: hear them there."""
        for feed in self._feeds.values():
            if feed.place is None or feed.place != self._links.place(feed.channel):
                self._leave_place(feed)
                self._settle(feed)

    def _feeds_at(self, link: Link) -> list[Feed]:
        return [feed for feed in self._feeds.values() if feed.place == link.place]

    def _settle(self, feed: Feed) -> None:
        feed.break_off()
        feed.place = self._links.place(feed.channel)
        link = self._links.at(feed.place)
        if link is not None and link.up:  # else it is done when the link comes up
            link.subscribe(feed.channel)

    def _leave_place(self, feed: Feed) -> None:
        link = self._links.find(feed.place)
        if link is not None and link.up:
            link.unsubscribe(feed.channel)

    def can_retry(self) -> None:
        """Send what the server refused for a passing reason."""
        self._sequencer.send_again()

    def subscribed(self, link: Link, channel: str) -> None:
        """From now on the channel is heard: read what was before."""
        feed = self._feeds.get(channel)
        if feed is not None:
            self._catch_up(feed)

    def heard(self, channel: str, data: bytes) -> None:
        """Deliver what was published, if it is the next."""
        feed = self._feeds.get(channel)
        if feed is None:
            return
        try:
            record = decode_record(feed.room, data)
        except ValueError as exc:
            self._count_foreign(channel, exc)
            return
        self._take(feed, record)

    def _take(self, feed: Feed, record: Record) -> None:
        verdict = feed.judge(record)
        if verdict is Verdict.DELIVER:
            self._hand_out(feed, record)
            self._tell_progress(feed.channel)
        elif verdict is Verdict.GAP:
            logger.info("a gap in room %r on %s", feed.room.name, feed.room.path)
            self._catch_up(feed)

    def _hand_out(self, feed: Feed, record: Record) -> None:
        if feed.advance(record) and self._deliver is not None:
            # A position in the worker's own sequence means nothing to a client.
            self._deliver(record.emission, feed.offset if feed.room.path else None)

    def _count_foreign(self, channel: str, exc: ValueError) -> None:
        self.foreign += 1
        if self.foreign == 1:
            logger.warning("a message on %.200r is none of wsroom's (%s); dropped", channel, exc)

    # -- gaps ------------------------------------------------------------------------------

    def _catch_up(self, feed: Feed) -> None:
        feed.break_off()
        self._spawn(self._fill(feed))

    async def _fill(self, feed: Feed) -> None:
        kept = feed.kept  # a later gap has another list, and a task of its own
        most = self._keeping.history if feed.epoch else 0
        while feed.kept is kept and self._feeds.get(feed.channel) is feed:
            try:
                past = await self._reader.read(feed, feed.epoch or "", feed.seq, most)
            except AdapterError as exc:
                logger.debug("room %r on %s waits: %s", feed.room.name, feed.room.path, exc)
                await asyncio.sleep(RETRY_AFTER)
                continue
            if feed.kept is kept and self._feeds.get(feed.channel) is feed:
                self._go_on(feed, past)

    def _go_on(self, feed: Feed, past: Read) -> None:
        if feed.epoch is not None and (past.records is None or past.epoch != feed.epoch):
            # Of a new epoch all can be there; what was missed of the one before nobody knows.
            feed.epoch, feed.seq = past.epoch, past.seq - len(past.records or ())
            self._tell_lost(feed)
        for record in past.records or ():
            self._hand_out(feed, record)
        feed.epoch, feed.seq = past.epoch, past.seq
        overflowed = feed.overflowed
        for record in feed.resume():
            self._take(feed, record)
        if overflowed and feed.live:
            self._catch_up(feed)
        self._tell_progress(feed.channel)

    def _tell_lost(self, feed: Feed) -> None:
        logger.info("messages of room %r on %s were lost", feed.room.name, feed.room.path)
        if self._deliver is not None:
            self._deliver(Emission(feed.room, b"", kind=RESYNC), feed.offset)

    # -- waiting ---------------------------------------------------------------------------

    async def _until(self, feed: Feed, done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not done():
                    if self._feeds.get(feed.channel) is not feed:
                        raise AdapterError(f"room {feed.room.name!r} was left meanwhile")
                    await self._progress.setdefault(feed.channel, asyncio.Event()).wait()
        except TimeoutError:
            raise AdapterError(f"Redis did not answer within {PATIENCE:g} s") from None

    def _tell_progress(self, channel: str) -> None:
        if self._progress and (event := self._progress.pop(channel, None)) is not None:
            event.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="wsroom: Redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what is kept in Redis -------------------------------------------------------------

    async def _write_settings(self) -> None:
        """Leave a note for publishers of other processes, which must keep as we do."""
        key = self._names.settings
        link = await self._links.wait_for(key)
        link.command(("HSET", key, *self._keeping.to_fields()), _ignore)
        answer = await link.ask_command(("EXPIRE", key, SETTINGS_TTL))
        if isinstance(answer, Exception):
            raise AdapterError(f"Redis refused: {answer}") from answer

    async def _keep_states(self) -> None:
        """Keep the positions of our rooms from expiring, however quiet they are."""
        while True:
            await asyncio.sleep(STATE_TTL / 3)
            with contextlib.suppress(AdapterError):  # the next round is soon enough
                await self._write_settings()
            for feed in list(self._feeds.values()):
                if feed.live:
                    with contextlib.suppress(AdapterError):
                        await self._reader.read(feed, feed.epoch or "", feed.seq, 0)


def _ignore(answer: object) -> None:
    """The command after this one fails for the same reason."""
