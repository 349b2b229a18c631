"""The base class of writers, which send frames to one socket, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from wsroom.delivery.frames import Chunk, PreparedFrame

TOO_SLOW = 1013, "too slow"

VOLATILE_LIMIT = 64 * 1024
"""Unsent bytes above which a socket is behind, so that volatile frames pass over it."""

# Times the limit. Between two checks of a slow socket nothing else bounds its unsent bytes.
FLOOD_FACTOR = 16


class Transport(Protocol):
    """The part of an asyncio or uvloop transport that the outbox uses."""

    def is_closing(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...


def unsent_bytes(transport: Transport) -> int:
    """Return how many bytes the transport has not sent yet; 0 once it is closed."""
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        # asyncio's TLS transport has let go of its connection at a second `close` (sslproto.py in
        # Python 3.11 to 3.13), which uvicorn calls.
        return 0


class WriteFailureHandler(Protocol):
    """The connection that a writer belongs to."""

    def give_up(self, code: int, reason: str) -> None:
        """Close the connection and drop its unsent frames: it cannot be written to."""


class Writer(ABC):
    """Sends frames to one socket; the hub knows it as the member of the socket's rooms.

    A subclass that cannot have unsent bytes only needs `collect`.
    """

    __slots__ = ("id", "path")

    idle_transport: Transport | None = None
    """The transport, if the outbox may write to it at once; None if it must call `collect`."""

    accepts_deflate: bool = False
    """Whether the peer accepts deflated frames with a window of 12 bits."""

    def __init__(self, id: str, path: str) -> None:
        self.id = id
        """The id of the socket."""
        self.path = path
        """The concrete path of the socket."""

    @property
    def unsent(self) -> int:
        """The bytes that were not sent yet, without those collected in this tick."""
        return 0

    @abstractmethod
    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, in order; never waits and never raises.

        If the socket is behind, its volatile frames are dropped.
        """

    def flush(self) -> int:
        """Send what was collected in this tick; returns its size in bytes."""
        return 0

    def check_unsent(self, now: float) -> bool:
        """Act if a socket is slow at time `now`; returns whether to check again."""
        return False

    @property
    def ended(self) -> bool:
        """Whether it accepts no more frames."""
        return False

    def give_up_soon(self) -> None:  # noqa: B027 (for writers without unsent bytes)
        """Give the connection up in the next iteration of the event loop: it is too slow."""

    def check_flood(self) -> None:  # noqa: B027 (for writers without unsent bytes)
        """Act if far more than the limit is unsent."""


def frames_of(collected: list[Chunk | PreparedFrame]) -> list[PreparedFrame]:
    """Return the frames of frames and chunks, in order."""
    frames: list[PreparedFrame] = []
    for item in collected:
        if isinstance(item, Chunk):
            frames += item.frames
        else:
            frames.append(item)
    return frames
