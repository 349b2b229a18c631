"""Limits on what a peer may use. No I/O and no asyncio here."""

from __future__ import annotations

from dataclasses import dataclass, fields

from wsroom.errors import SetupError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for each socket; a client that exceeds one gets an answer that says so.

    Raises:
        SetupError: a number is not above 0; `replay` may be 0.

    """

    frame_size: int = 64 * 1024
    """Bytes of one frame from a client; a larger one is answered `too_large`."""
    depth: int = 64
    """Levels of nesting in a client's frame, its own object included; more are `bad_frame`."""
    event_name: int = 64
    """Characters of an event's name; a longer one is `bad_frame`."""
    room_name: int = 128
    """Bytes (UTF-8) of a room's name; a longer one is `bad_room`."""
    rooms_per_socket: int = 100
    """Rooms that one socket may be in; one more is `too_many_rooms`."""
    bad_frames: int = 10
    """Invalid frames per minute that are answered; one more closes the socket with 1008."""
    concurrent: int = 32
    """Handlers with `concurrent=True` that run concurrently for one socket."""
    handler_timeout: float = 30.0
    """Seconds to handle one frame; then the handler is cancelled and the answer is `timeout`."""
    write_buffer: int = 1024 * 1024
    """Unsent bytes of one socket; more that do not shrink for a second close it with 1013."""

    replay: int = 100
    """Earlier messages of a room that a client may get when it joins; 0 for none. Guards can set
    another number for their rooms."""

    members: int = 1000
    """Members of a room with presence that clients are shown; of a room with more they get only
    the count."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "replay" and value == 0:
                continue
            if not value > 0:
                raise SetupError(f"Limits.{field.name} is {value!r}; use a number above 0")
