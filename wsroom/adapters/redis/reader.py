"""Asking Redis where a room stands, and what happened in it."""

from __future__ import annotations

import logging
from typing import NamedTuple

from wsroom.adapters.redis.feeds import Feed
from wsroom.adapters.redis.links import Links
from wsroom.adapters.redis.records import Record, decode_record
from wsroom.adapters.redis.scripts import keys

logger = logging.getLogger("wsroom")


class Read(NamedTuple):
    """What the history told."""

    epoch: str
    seq: int
    records: list[Record] | None
    """What happened since the offset that was asked for, or, where this is another epoch, all that
    happened in it; None where some of that is not kept any more."""


class Reader:
    """Reads the histories of rooms."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def read(self, feed: Feed, epoch: str, seq: int, most: int) -> Read:
        """Read what happened since an offset, `most` emissions at the most.

        Raises:
            AdapterError: Redis refused, or did not answer within 5 s.

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
