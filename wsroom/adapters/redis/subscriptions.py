"""What is to be subscribed to and what no more, as commands. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CHANNELS_AT_ONCE = 500
"""Channels that one command names at the most."""


def joined(wishes: list[tuple[str, str]], most: int) -> Iterable[tuple[Any, ...]]:
    """The commands, in order, with many channels in one where that is possible."""
    words: list[str] = []
    for command, channel in wishes:
        if not words or words[0] != command or len(words) > most:
            if words:
                yield tuple(words)
            words = [command]
        words.append(channel)
    if words:
        yield tuple(words)
