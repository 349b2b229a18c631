"""What the writers have in common."""

from __future__ import annotations

from typing import Protocol

from wsroom.delivery.frames import Chunk, PreparedFrame


class Owner(Protocol):
    """The connection that a writer writes to."""

    def give_up(self, code: int, reason: str) -> None:
        """It cannot be written to any more: close it, without what is unsent."""


TOO_SLOW = 1013, "too slow"

# Between two looks at a socket that is over its limit nothing else bounds what a flood adds.
BURST = 16


def frames_of(collected: list[Chunk | PreparedFrame]) -> list[PreparedFrame]:
    """The frames of frames and chunks, in their order."""
    frames: list[PreparedFrame] = []
    for item in collected:
        if isinstance(item, Chunk):
            frames += item.frames
        else:
            frames.append(item)
    return frames
