"""Limits on what a peer may use. No I/O and no asyncio here."""

from __future__ import annotations

from dataclasses import dataclass, fields

from wsroom.errors import SetupError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for each socket, and for the sockets of a worker together.

    A client that exceeds one gets an answer that says so.

    Raises:
        SetupError: a number is not above 0; `replay` may be 0, and limits of connections None.

    """

    frames: int = 200
    """Frames a second; more wait, and 10 s of waiting close the socket with 1008. A cursor that
    follows the pointer sends 60."""
    burst: int = 400
    """Frames that may come at once, before `frames` applies: what a page sends when it opens, or
    when its network is back."""
    joins: int = 20
    """Joins of the client a second, refused ones too, after `rooms_per_socket` at once; more wait.
    Each may cost a query of its guard and a subscription."""
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

    unsent: int = 256 * 1024 * 1024
    """Unsent bytes of all sockets of one worker; beyond that those with the most are closed with
    1013. Each socket alone may be within `write_buffer` while together they fill the memory."""
    replay: int = 100
    """Earlier messages of a room that a client may get when it joins; 0 for none. Guards can set
    another number for their rooms."""

    connections: int | None = None
    """Connections of one worker; one more is refused with 503. None for no limit: it depends on the
    machine, an idle socket takes about 10 kB."""
    connections_per_address: int | None = None
    """Connections of one worker from one address; one more is refused with 503. None for no limit:
    a proxy, an office or a mobile network can be one address."""
    members: int = 1000
    """Members of a room with presence that clients are shown; of a room with more they get only
    the count."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if (field.name == "replay" and value == 0) or (value is None is field.default):
                continue
            if not value > 0:
                raise SetupError(f"Limits.{field.name} is {value!r}; use a number above 0")
