"""Offsets: positions in the history of a room. No I/O and no asyncio here."""

from __future__ import annotations

from typing import NamedTuple

READ_ENTRIES = 300
"""The most emissions that one `read` returns."""

ROOM_BYTES = 1024 * 1024
"""The most bytes that the entries of one room take, and so the most that one `read` returns."""

_MAX_LENGTH = 100


class Offset(NamedTuple):
    """A position in the history of a room; adapters make them, clients see them as strings.

    Within one epoch, a later emission has a higher `seq`. Offsets of different epochs cannot be
    compared: a room begins a new epoch when its history may have lost emissions.
    """

    epoch: str
    """Names one uninterrupted sequence of a room: 1 to 80 characters without quotes."""
    seq: int
    """Counts the emissions of that sequence, from 0."""

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: object) -> Offset | None:
        """Read what `str` returned; None if `text` is invalid, since it comes from a client."""
        if type(text) is not str or len(text) > _MAX_LENGTH:
            return None
        epoch, _, digits = text.rpartition(":")
        if not epoch or not digits.isascii() or not digits.isdigit():
            return None
        offset = cls(epoch, int(digits))
        return offset if str(offset) == text else None
