"""Receiving a worker's rooms from Redis: their positions, and how gaps are found and filled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from wsroom.adapters.redis.codec import (
    Record,
    RedisNames,
    decode_record,
    decode_volatile,
    is_volatile,
)
from wsroom.adapters.redis.feed import Feed, Verdict
from wsroom.adapters.redis.history_reader import HistoryRead, HistoryReader
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.network.topology import Topology
from wsroom.adapters.redis.presence import RedisPresence
from wsroom.adapters.redis.publishing import BoundedPublisher
from wsroom.adapters.redis.scripts import HistorySettings, network_settings
from wsroom.errors import AdapterError
from wsroom.logs import LogOnce
from wsroom.timing import Timing
from wsroom.wire.emission import PRESENCE, RESYNC, Deliver, Emission, Past, Room
from wsroom.wire.offsets import READ_ENTRIES, Offset

logger = logging.getLogger("wsroom.redis")

MOST_READS = 500
"""The most histories that are read at the same time; with all of them heartbeats were too late."""


class Receiver:
    """One worker's part of Redis, from its start to its stop: what it receives and publishes."""

    def __init__(
        self,
        topology: Topology,
        names: RedisNames,
        history: HistorySettings,
        deliver: Deliver,
        timing: Timing,
    ) -> None:
        settings = network_settings(
            names, history, sharded=topology.sharded, subscribes=True, timing=timing
        )
        self.servers = Servers(topology, self, settings)
        self.publisher = BoundedPublisher(names, self.servers)
        self.history = HistoryReader(self.servers)
        self.presence = RedisPresence(names, self.servers)
        self.feeds: dict[str, Feed] = {}
        """The sequences that are subscribed, by their channels."""
        self._loop = asyncio.get_running_loop()
        self.foreign = 0
        """How many messages of other programs came through the channels."""
        self.gaps_filled = 0
        """How many times messages of a room were missed, and read from the history."""
        self._foreign_log = LogOnce()
        self._names = names
        self._history_length = history.history
        self._deliver: Deliver | None = deliver
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Semaphore(MOST_READS)
        self._progress: dict[str, asyncio.Event] = {}

    async def stop(self) -> None:
        """End everything; nothing is delivered any more."""
        self._deliver = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.publisher.stop()
        await self.servers.stop()
        self.feeds.clear()
        for channel in list(self._progress):
            self._wake_waiting(channel)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task that ends at the stop at the latest."""
        if self._deliver is None:
            work.close()  # the receiver has stopped
            return
        task = asyncio.get_running_loop().create_task(work, name="wsroom: Redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def subscribe(self, room: Room) -> Offset:
        """Return the offset of `room` once it is received live.

        Raises:
            AdapterError: it was not within `Timing.redis_timeout`, or the room was left meanwhile.

        """
        channel = self._names.channel(room)
        feed = self.feeds.get(channel)
        if feed is None:
            feed = self.feeds[channel] = Feed(room, channel)
            self._subscribe(feed)
        if not feed.live:
            await self._wait_until(feed, lambda: feed.live)
        return feed.offset

    def unsubscribe(self, room: Room) -> None:
        """Receive nothing of `room` any more."""
        feed = self.feeds.pop(self._names.channel(room), None)
        if feed is not None:
            self._unsubscribe(feed)
            self.presence.channels.discard(feed.channel)
            self._wake_waiting(feed.channel)

    async def read(self, room: Room, since: Offset | None, last: int | None) -> Past:
        """Do what `Adapter.read` promises."""
        feed = self.feeds.get(self._names.channel(room))
        if feed is None:
            raise AdapterError(f"room {room.name!r} is not subscribed")
        if not feed.live:
            await self._wait_until(feed, lambda: feed.live)
        newest = last is not None
        if since == feed.offset and not newest:
            return Past(feed.offset, complete=True)
        position = since or Offset("", 0)
        most = READ_ENTRIES if last is None else min(last, READ_ENTRIES)
        past = await self.history.read(feed, *position, most, newest=newest)
        epoch, seq = past.epoch, past.seq
        if epoch != feed.epoch and feed.live:
            self._catch_up(feed)  # the feed has not noticed the new epoch yet
        await self._wait_until(feed, lambda: feed.live and (feed.epoch != epoch or feed.seq >= seq))
        lost = any(one.emission.kind == RESYNC for one in past.records or ())
        gap = not newest and (lost or not past.continuous)
        if past.records is None or gap or epoch != feed.epoch:
            return Past(feed.offset, complete=False)
        emissions = ((one.emission, Offset(one.epoch, one.seq)) for one in past.records)
        times = tuple(one.time for one in past.records)
        return Past(Offset(epoch, seq), complete=True, emissions=tuple(emissions), times=times)

    async def refresh(self, feed: Feed) -> None:
        """Keep the position of a feed valid, although nothing may be emitted there for long.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`.

        """
        past = await self.history.read(feed, feed.epoch or "", feed.seq, 0)
        if past.epoch != feed.epoch and feed.live:
            self._catch_up(feed)

    # -- servers and places ----------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Subscribe to the channels of its place; each confirmation starts a catch-up."""
        for feed in self._feeds_at(link):
            link.subscriptions.subscribe(feed.channel)
        self.publisher.connected()

    def disconnected(self, link: Link) -> None:
        """Interrupt the feeds of its place, since they may miss records from now on."""
        for feed in self._feeds_at(link):
            feed.interrupt(self._loop.time())

    def can_retry(self) -> None:
        """Send the emissions that the server refused temporarily."""
        self.publisher.send_waiting()

    def places_changed(self) -> None:
        """Move the subscriptions of channels that have another place now."""
        for feed in self.feeds.values():
            if feed.place is None or feed.place != self.servers.place(feed.channel):
                self._unsubscribe(feed)
                self._subscribe(feed)

    def _feeds_at(self, link: Link) -> list[Feed]:
        return [feed for feed in self.feeds.values() if feed.place == link.place]

    def _subscribe(self, feed: Feed) -> None:
        feed.interrupt(self._loop.time())
        feed.place = self.servers.place(feed.channel)
        link = self.servers.link_to(feed.place)
        if link is not None and link.connected:  # else it is done when the link is connected
            link.subscriptions.subscribe(feed.channel)

    def _unsubscribe(self, feed: Feed) -> None:
        link = self.servers.existing_link(feed.place)
        if link is not None and link.connected:
            link.subscriptions.unsubscribe(feed.channel)

    # -- subscriptions and their messages --------------------------------------------------

    def subscribed(self, channel: str) -> None:
        """The channel is received from now on: read the records before that."""
        feed = self.feeds.get(channel)
        if feed is not None:
            self._catch_up(feed)

    def unsubscribed(self, channel: str, place: str) -> None:
        """The channel's slot has moved: find out where to."""
        feed = self.feeds.get(channel)
        if feed is not None and feed.place == place:
            feed.interrupt(self._loop.time())
            feed.place = None
            self.servers.refresh_soon()

    def received(self, channel: str, data: bytes) -> None:
        """Deliver a record if it is the next one, or a volatile one in its place."""
        feed = self.feeds.get(channel)
        if feed is None:
            return
        try:
            if not is_volatile(data):
                self._handle(feed, decode_record(feed.room, data))
            elif feed.accepts(volatile := decode_volatile(feed.room, data)):
                self._deliver_one(volatile.emission, None)
        except ValueError as exc:
            self._count_foreign(channel, exc)

    def _handle(self, feed: Feed, record: Record) -> None:
        verdict = feed.judge(record)
        if verdict is Verdict.DELIVER:
            self._advance(feed, record)
            self._wake_waiting(feed.channel)
        elif verdict is Verdict.GAP:
            room = feed.room
            logger.info("a gap in the messages of %s", room.describe(), extra=room.log_extra())
            self._catch_up(feed)

    def _advance(self, feed: Feed, record: Record) -> None:
        if feed.advance(record):
            # Positions in the worker's own sequence mean nothing to clients.
            self._deliver_one(record.emission, feed.offset if feed.room.path else None)

    def _deliver_one(self, emission: Emission, offset: Offset | None) -> None:
        if self._deliver is None:
            return
        try:
            self._deliver(emission, offset)
        except Exception:  # a failure of one emission must not stop the next ones
            room = emission.room
            logger.exception(
                "a message of %s could not be delivered", room.describe(), extra=room.log_extra()
            )

    def _count_foreign(self, channel: str, exc: ValueError) -> None:
        self.foreign += 1
        if self._foreign_log.due():
            logger.warning("a message on %.200r is not from wsroom (%s); dropped", channel, exc)

    # -- gaps ------------------------------------------------------------------------------

    def _catch_up(self, feed: Feed) -> None:
        feed.interrupt(self._loop.time())
        self.spawn(self._fill_gap(feed))

    async def _fill_gap(self, feed: Feed) -> None:
        buffered = feed.buffered  # a later gap has another list, and a task of its own
        most = self._history_length if feed.epoch else 0
        while feed.buffered is buffered and self.feeds.get(feed.channel) is feed:
            try:
                async with self._reads:
                    past = await self.history.read(feed, feed.epoch or "", feed.seq, most)
            except AdapterError as exc:
                room, feed.problem = feed.room, exc
                logger.debug("%s waits: %s", room.describe(), exc, extra=room.log_extra())
                await asyncio.sleep(self.servers.timing.retry_after)
                continue
            if feed.buffered is buffered and self.feeds.get(feed.channel) is feed:
                self._continue_from(feed, past)

    def _continue_from(self, feed: Feed, past: HistoryRead) -> None:
        if feed.epoch is not None and (past.records is None or not past.continuous):
            # Of a new epoch, all records may be known; which ones of the former epoch were missed
            # is not.
            feed.epoch, feed.seq = past.epoch, past.seq - len(past.records or ())
            self._report_loss(feed, before_epoch=past.records is not None)
        elif feed.epoch is not None and past.records:
            self.gaps_filled += 1
        for record in past.records or ():
            self._advance(feed, record)
        feed.epoch, feed.seq = past.epoch, past.seq
        overflowed = feed.overflowed
        for record in feed.resume():
            self._handle(feed, record)
        if feed.channel in self.presence.channels:  # changes of its members may be missing
            self._deliver_one(Emission(feed.room, b"", kind=PRESENCE), None)
        if overflowed and feed.live:
            self._catch_up(feed)
        self._wake_waiting(feed.channel)

    def _report_loss(self, feed: Feed, *, before_epoch: bool) -> None:
        room = feed.room
        logger.info("messages of %s were lost", room.describe(), extra=room.log_extra())
        if not room.path and before_epoch:
            self.spawn(self._report_own_loss(feed, feed.interrupted_at))
        else:
            feed.lost_at = self._loop.time()
            self._deliver_one(Emission(room, b"", kind=RESYNC), feed.offset)

    async def _report_own_loss(self, feed: Feed, since: float) -> None:
        # Messages to single sockets were lost, all of them before this epoch. What a path's sockets
        # get when the path has lost messages says the same, so after a restart of Redis, which is
        # before that, it is enough.
        with contextlib.suppress(TimeoutError, AdapterError):
            async with asyncio.timeout(self.servers.timing.redis_timeout):
                for path in self._paths():
                    await self._wait_until(path, partial(getattr, path, "live"))
        if any(path.lost_at < since for path in self._paths()):
            self._deliver_one(Emission(feed.room, b"", kind=RESYNC), None)

    def _paths(self) -> list[Feed]:
        return [feed for feed in self.feeds.values() if feed.room.path and not feed.room.name]

    # -- waiting ---------------------------------------------------------------------------

    async def _wait_until(self, feed: Feed, done: Callable[[], bool]) -> None:
        timeout = self.servers.timing.redis_timeout
        try:
            async with asyncio.timeout(timeout):
                while not done():
                    if self.feeds.get(feed.channel) is not feed:
                        raise AdapterError(f"room {feed.room.name!r} was left meanwhile")
                    await self._progress.setdefault(feed.channel, asyncio.Event()).wait()
        except TimeoutError:
            problem = f"Redis did not answer within {timeout:g} s: {self.servers.problem}"
            raise AdapterError(str(feed.problem or problem)) from None

    def _wake_waiting(self, channel: str) -> None:
        if self._progress and (event := self._progress.pop(channel, None)) is not None:
            event.set()
