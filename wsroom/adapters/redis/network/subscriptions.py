"""What is to be subscribed to and what no more, as commands. No I/O and no asyncio here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

CHANNELS_AT_ONCE = 500
"""Channels that one command names at the most."""


class Leaving:
    """Subscriptions that we have ended, until that is confirmed.

    A sharded one also ends when its slot moves, and the server's word for both is the same.
    """

    def __init__(self) -> None:
        self._channels: Counter[str] = Counter()

    def add(self, channel: str) -> None:
        """It is being ended."""
        self._channels[channel] += 1

    def confirm(self, channel: str) -> bool:
        """It has ended; whether that was our wish."""
        if channel not in self._channels:
            return False
        self._channels[channel] -= 1
        if not self._channels[channel]:
            del self._channels[channel]
        return True


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
