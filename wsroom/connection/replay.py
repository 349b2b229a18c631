"""Writes messages of the past to one socket; shared by `resume` and by joins with history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Set
from typing import NamedTuple

from wsroom.connection.connection import Connection
from wsroom.delivery.frames import PreparedFrame
from wsroom.wire.emission import EMIT, Emission, Past
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import replayed


class Entry(NamedTuple):
    """An emission of the past."""

    emission: Emission
    offset: Offset
    time: int | None
    """When it was published, in milliseconds since the epoch; None if that is unknown."""


async def wait_for_writer(connection: Connection) -> None:
    """Wait until the socket has room for a replay.

    Raises:
        TimeoutError: its peer does not read.

    """
    limit, timing = connection.worker.limits.write_buffer / 2, connection.worker.timing
    async with asyncio.timeout(timing.hold):
        while connection.writer.unsent > limit:  # noqa: ASYNC110
            await asyncio.sleep(timing.replay_check_interval)


def entries_of(past: Past) -> list[Entry]:
    """Return the emissions of `past` with their offsets and times."""
    times = past.times or (None,) * len(past.emissions)
    return [Entry(*entry, time) for entry, time in zip(past.emissions, times, strict=True)]


def frames_for(
    connection: Connection, entries: Iterable[Entry], *, own: bool = False
) -> list[PreparedFrame]:
    """Return the frames of the entries that the socket may see; with `own`, its session's too.

    `own` are those that exclude it as their sender. Rooms count as they are now.
    """
    mine = connection.rooms | {connection.id}
    session = connection.session.hash()
    return [
        PreparedFrame(replayed(emission.payload, offset, time))
        for emission, offset, time in entries
        if _is_for(emission, mine) and (own or not _is_by(emission, connection.id, session))
    ]


def _is_by(emission: Emission, id: str, session: str) -> bool:
    return emission.except_session == session or emission.except_socket == id


def _is_for(emission: Emission, mine: Set[str]) -> bool:
    def among(names: Iterable[str]) -> bool:
        return not mine.isdisjoint(names)

    return (
        emission.kind == EMIT
        and not emission.volatile  # an adapter may keep it as if it were not
        and (not emission.rooms or among(emission.rooms))
        and not among(emission.except_rooms)
    )
