"""Offsets: positions in the history of a room. No I/O and no asyncio here."""

from __future__ import annotations

from typing import NamedTuple

READ_ENTRIES = 300
"""How many emissions one `read` returns at most."""

ROOM_BYTES = 1024 * 1024
"""How many bytes the history of one room has at most, and so what one `read` returns."""

_MAX_LENGTH = 100


class Offset(NamedTuple):
    """A position in the history of a room; adapters make them, clients see them as strings.

    Within one epoch, a later emission has a higher `seq`. Offsets of different epochs cannot be
    compared: a room begins a new epoch when its history may have lost emissions.
    """

    epoch: str
    """Names one uninterrupted sequence of one room: 1 to 80 characters, without `"` and `\\`."""
    seq: int
    """At least 0; higher for each emission of that sequence."""

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: object) -> Offset | None:
        """Read what `str(offset)` returned; None if `text` is invalid, since clients send it."""
        if type(text) is not str or len(text) > _MAX_LENGTH:
            return None
        epoch, _, digits = text.rpartition(":")
        if not epoch or not digits.isascii() or not digits.isdigit():
            return None
        offset = cls(epoch, int(digits))
        return offset if str(offset) == text else None
