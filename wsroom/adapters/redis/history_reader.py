"""Reading the histories of rooms from Redis."""

from __future__ import annotations

import logging
from typing import NamedTuple

from wsroom.adapters.redis.codec import Record, decode_record
from wsroom.adapters.redis.feed import Feed
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.scripts import sequence_keys

logger = logging.getLogger("wsroom.redis")


class HistoryRead(NamedTuple):
    """The result of reading a history."""

    epoch: str
    seq: int
    records: list[Record] | None
    """The records since the offset that was asked for or, if they do not continue from it, all of
    the room's epoch; None if some of them are not kept any more."""
    continuous: bool
    """Whether they continue from the offset; with `newest` it means nothing."""


class HistoryReader:
    """Reads the histories of rooms."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def read(
        self, feed: Feed, epoch: str, seq: int, most: int, *, newest: bool = False
    ) -> HistoryRead:
        """Read the records since an offset, at most `most`; or the `newest` ones, since any.

        Raises:
            AdapterError: Redis refused, or did not answer within `Timing.redis_timeout`.

        """
        keys = sequence_keys(feed.channel, sharded=self._servers.sharded)
        words = ("read", *keys, epoch, seq, most, int(newest))
        now, number, found, *entries = await self._servers.ask(feed.channel, words)
        records: list[Record] | None = None
        if found:
            try:
                records = [decode_record(feed.room, entry) for entry in entries]
            except ValueError as exc:
                logger.warning(
                    "the history of %s is not from wsroom: %s",
                    feed.room.describe(),
                    exc,
                    extra=feed.room.log_extra(),
                )
        return HistoryRead(now.decode(), number, records, found == 1)
