"""What one worker hears: where each of its rooms stands, gaps, and how they are filled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from wsroom.adapters.redis.codec import Names, Record, decode_record
from wsroom.adapters.redis.failover import Sequencer
from wsroom.adapters.redis.feed import Feed, Verdict
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.network.topology import Topology
from wsroom.adapters.redis.scripts import Keeping, keys, network_settings
from wsroom.errors import AdapterError
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import RESYNC, Deliver, Emission, Past, Room
from wsroom.wire.offsets import READ_ENTRIES, Offset

logger = logging.getLogger("wsroom")

READING = 500
"""Histories that are read at a time: with all at once no heartbeat came through in time."""


class Read(NamedTuple):
    """What the history told."""

    epoch: str
    seq: int
    records: list[Record] | None
    """What happened since the offset that was asked for, or, where this is another epoch, all that
    happened in it; None where some of that is not kept any more."""


class Reader:
    """Reads the histories of rooms."""

    def __init__(self, links: Servers) -> None:
        self._links = links

    async def read(self, feed: Feed, epoch: str, seq: int, most: int) -> Read:
        """Read what happened since an offset, `most` emissions at the most.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`.

        """
        question = ("read", *keys(feed.channel), epoch, seq, most)
        now, number, found, *entries = await self._links.ask(feed.channel, question)
        records: list[Record] | None = None
        if found:
            try:
                records = [decode_record(feed.room, entry) for entry in entries]
            except ValueError as exc:
                logger.warning("the history of %.200r is none of wsroom's: %s", feed.channel, exc)
        return Read(now.decode(), number, records)


class Listener:
    """One worker's dealings with Redis, from its start to its stop."""

    def __init__(
        self,
        topology: Topology,
        names: Names,
        keeping: Keeping,
        deliver: Deliver,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        settings = network_settings(
            names, keeping, sharded=topology.sharded, subscribes=True, timing=timing
        )
        self.links = Servers(topology, self, settings)
        self.sequencer = Sequencer(names, self.links)
        self.reader = Reader(self.links)
        self.feeds: dict[str, Feed] = {}
        """What is heard, by the channel."""
        self.foreign = 0
        """Messages on our channels that were none of ours."""
        self._names = names
        self._keeping = keeping
        self._deliver: Deliver | None = deliver
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Semaphore(READING)
        self._progress: dict[str, asyncio.Event] = {}

    async def stop(self) -> None:
        """End everything; nothing is delivered any more."""
        self._deliver = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.sequencer.stop()
        await self.links.stop()
        self.feeds.clear()
        for channel in list(self._progress):
            self._tell_progress(channel)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else, until the stop at the latest."""
        if self._deliver is None:
            work.close()  # it has stopped
            return
        task = asyncio.get_running_loop().create_task(work, name="wsroom: Redis")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def subscribe(self, room: Room) -> Offset:
        """Return once `room` is heard, with its offset; raises AdapterError after a timeout."""
        channel = self._names.channel(room)
        feed = self.feeds.get(channel)
        if feed is None:
            feed = self.feeds[channel] = Feed(room, channel)
            self._settle(feed)
        if not feed.live:
            await self._until(feed, lambda: feed.live)
        return feed.offset

    def unsubscribe(self, room: Room) -> None:
        """Hear `room` no more."""
        feed = self.feeds.pop(self._names.channel(room), None)
        if feed is not None:
            self._leave_place(feed)
            self._tell_progress(feed.channel)

    async def read(self, room: Room, since: Offset | None) -> Past:
        """Do what `Adapter.read` promises."""
        feed = self.feeds.get(self._names.channel(room))
        if feed is None:
            raise AdapterError(f"room {room.name!r} is not subscribed")
        if not feed.live:
            await self._until(feed, lambda: feed.live)
        if since == feed.offset:
            return Past(feed.offset, complete=True)
        position = since or Offset("", 0)
        past = await self.reader.read(feed, *position, READ_ENTRIES)
        epoch, seq = past.epoch, past.seq
        if epoch != feed.epoch and feed.live:
            self._catch_up(feed)  # it has not noticed yet that its room began anew
        await self._until(feed, lambda: feed.live and (feed.epoch != epoch or feed.seq >= seq))
        told_lost = any(one.emission.kind == RESYNC for one in past.records or ())
        if past.records is None or told_lost or position.epoch != epoch or epoch != feed.epoch:
            return Past(feed.offset, complete=False)
        emissions = ((one.emission, Offset(one.epoch, one.seq)) for one in past.records)
        return Past(Offset(epoch, seq), complete=True, emissions=tuple(emissions))

    # -- what the links tell ---------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Subscribe to what lives there; what was missed is read as each is confirmed."""
        for feed in self._feeds_at(link):
            link.subscriptions.subscribe(feed.channel)
        self.sequencer.came_up()

    def disconnected(self, link: Link) -> None:
        """What is heard from there later does not follow what was heard before."""
        for feed in self._feeds_at(link):
            feed.break_off()

    def places_changed(self) -> None:
        """Other servers may serve some channels now: hear them there."""
        for feed in self.feeds.values():
            if feed.place is None or feed.place != self.links.place(feed.channel):
                self._leave_place(feed)
                self._settle(feed)

    def _feeds_at(self, link: Link) -> list[Feed]:
        return [feed for feed in self.feeds.values() if feed.place == link.place]

    def _settle(self, feed: Feed) -> None:
        feed.break_off()
        feed.place = self.links.place(feed.channel)
        link = self.links.link_to(feed.place)
        if link is not None and link.connected:  # else it is done when the link comes up
            link.subscriptions.subscribe(feed.channel)

    def _leave_place(self, feed: Feed) -> None:
        link = self.links.existing_link(feed.place)
        if link is not None and link.connected:
            link.subscriptions.unsubscribe(feed.channel)

    def can_retry(self) -> None:
        """Send what the server refused for a passing reason."""
        self.sequencer.send_again()

    def subscribed(self, channel: str) -> None:
        """From now on the channel is heard: read what was before."""
        feed = self.feeds.get(channel)
        if feed is not None:
            self._catch_up(feed)

    def unsubscribed(self, channel: str, place: str) -> None:
        """The channel's slot may have moved: find out where to."""
        feed = self.feeds.get(channel)
        if feed is not None and feed.place == place:
            feed.break_off()
            feed.place = None
            self.links.refresh_soon()

    def received(self, channel: str, data: bytes) -> None:
        """Deliver what was published, if it is the next."""
        feed = self.feeds.get(channel)
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
        if feed.advance(record):
            # A position in the worker's own sequence means nothing to a client.
            self._give(record.emission, feed.offset if feed.room.path else None)

    def _give(self, emission: Emission, offset: Offset | None) -> None:
        if self._deliver is None:
            return
        try:
            self._deliver(emission, offset)
        except Exception:  # of one emission; the next ones must come
            logger.exception("an emission of %r could not be delivered", emission.room)

    def _count_foreign(self, channel: str, exc: ValueError) -> None:
        self.foreign += 1
        if self.foreign == 1:
            logger.warning("a message on %.200r is none of wsroom's (%s); dropped", channel, exc)

    # -- gaps ------------------------------------------------------------------------------

    def _catch_up(self, feed: Feed) -> None:
        feed.break_off()
        self.spawn(self._fill(feed))

    async def _fill(self, feed: Feed) -> None:
        kept = feed.kept  # a later gap has another list, and a task of its own
        most = self._keeping.history if feed.epoch else 0
        while feed.kept is kept and self.feeds.get(feed.channel) is feed:
            try:
                async with self._reading:
                    past = await self.reader.read(feed, feed.epoch or "", feed.seq, most)
            except AdapterError as exc:
                logger.debug("room %r on %s waits: %s", feed.room.name, feed.room.path, exc)
                await asyncio.sleep(self.links.timing.retry_after)
                continue
            if feed.kept is kept and self.feeds.get(feed.channel) is feed:
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
        self._give(Emission(feed.room, b"", kind=RESYNC), feed.offset)

    # -- waiting ---------------------------------------------------------------------------

    async def _until(self, feed: Feed, done: Callable[[], bool]) -> None:
        timeout = self.links.timing.redis_timeout
        try:
            async with asyncio.timeout(timeout):
                while not done():
                    if self.feeds.get(feed.channel) is not feed:
                        raise AdapterError(f"room {feed.room.name!r} was left meanwhile")
                    await self._progress.setdefault(feed.channel, asyncio.Event()).wait()
        except TimeoutError:
            problem = f"Redis did not answer within {timeout:g} s: {self.links.problem}"
            raise AdapterError(problem) from None

    def _tell_progress(self, channel: str) -> None:
        if self._progress and (event := self._progress.pop(channel, None)) is not None:
            event.set()
