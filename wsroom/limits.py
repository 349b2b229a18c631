"""The numbers that bound a peer. No I/O and no asyncio here; time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, fields

from wsroom.errors import SetupError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one socket may ask for. Every number is positive; past one the peer gets a clear answer.

    Raises:
        SetupError: a number is not positive.

    """

    frame_size: int = 64 * 1024
    """Bytes of one frame from a client; a larger one is answered `too_large`."""
    depth: int = 64
    """Nesting of a client's frame, the frame's own object counted; deeper is `bad_frame`."""
    event_name: int = 64
    """Characters of an event's name."""
    room_name: int = 128
    """Bytes (UTF-8) of a room's name."""
    rooms_per_socket: int = 100
    """Rooms that one socket may be in; one more is `too_many_rooms`."""
    bad_frames: int = 10
    """Bad frames a minute that are only answered; one more closes the socket with 1008."""
    concurrent: int = 32
    """Handlers registered with `concurrent=True` that run at once for one socket."""
    handler_timeout: float = 30.0
    """Seconds for one frame's handling; then it is cancelled and answered `timeout`."""
    write_buffer: int = 1024 * 1024
    """Bytes unsent to one socket; more, and not shrinking for a second, closes it with 1013."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise SetupError(f"Limits.{field.name} is {value!r}; use a number above 0")
