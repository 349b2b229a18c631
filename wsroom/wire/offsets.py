"""Offsets: positions in the history of a room. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsroom.wire.protocol import CONNECTED, JOIN, LEAVE, REPLY, RESUME, RESYNC

READ_ENTRIES = 300
"""Emissions that one `read` returns at the most."""


ROOM_BYTES = 1024 * 1024
"""Bytes that one room's entries may take, and hence what one `read` returns."""


_OFFSET_SIZE = 100


def make_offset(epoch: str, seq: int) -> str:
    """Write the position `seq` of the sequence that `epoch` names."""
    return f"{epoch}:{seq}"


def parse_offset(offset: object) -> tuple[str, int] | None:
    """Read epoch and position; None for whatever is no offset: it came from a client."""
    if type(offset) is not str or len(offset) > _OFFSET_SIZE:
        return None
    epoch, _, digits = offset.rpartition(":")
    if not epoch or not digits.isascii() or not digits.isdigit():
        return None
    seq = int(digits)
    return (epoch, seq) if make_offset(epoch, seq) == offset else None


Frame = dict[str, Any]


def told_offsets(frame: Frame, asked: str = "") -> Iterator[tuple[str, str | None]]:
    """The rooms of which a frame tells where they stand; None where the client is in it no more.

    `asked` is the event of the client's frame that this one answers.
    """
    event, message, room = frame["event"], frame["message"], frame["room"] or ""
    if "offset" in frame:
        yield room, frame["offset"]
    elif event == CONNECTED or (event == REPLY and asked == RESUME):
        for name, told in message.get("rooms", {}).items():
            offset = told if event == CONNECTED else told.get("offset")
            if offset is not None:
                yield name, offset
    elif event == RESYNC and message["offset"] is not None:
        yield room, message["offset"]
    elif event == REPLY and asked == JOIN and "offset" in message:
        yield message["room"], message["offset"]
    elif event == REPLY and asked == LEAVE:
        yield message["room"], None
