"""What a worker counts, and how the app's owner sees it. No I/O and no asyncio here.

Counters are plain attributes of objects that the code at hand has already; they are read when
somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

K = TypeVar("K")

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Seconds up to which handlers are counted in each class of a histogram."""

MOST_KEYS = 100
"""Codes that are counted separately: an app may make them up; all others are counted as OTHER."""

OTHER = "other"

BY_SERVER, BY_CLIENT = "server", "client"


class AdapterStats(NamedTuple):
    """What an adapter knows of its server, and has counted."""

    lag: float | None = None
    """Seconds that the server took for this worker's last message to itself, or for which one has
    been missing; None if that is unknown."""
    waiting: int = 0
    """Emissions of this worker that the server has not confirmed yet."""
    gaps_filled: int = 0
    """Times that it missed emissions of a room, and delivered them from the history."""


class HandlerStats(NamedTuple):
    """How long the handler of an event has run."""

    seconds: float
    """All calls together."""
    buckets: tuple[int, ...]
    """Calls of at most 1 ms, 2.5, 5, 10, 25, 50, 100, 250, 500 ms, 1 s, 5 s, 30 s, and longer."""

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return sum(self.buckets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What this worker has now, and has counted since it began; made by `WSRoom.stats`.

    Paths are those that were registered, such as "/t/{tenant}". Each mapping has few keys, whatever
    clients send.
    """

    connections: Mapping[str, int]
    """Open sockets, by path."""
    opened: Mapping[str, int]
    """Sockets whose handshake was accepted, by path."""
    rooms: int
    """Rooms with a member on this worker, without the paths themselves."""
    memberships: int
    """Members of these rooms, a socket counted once for each of its rooms."""
    events: Mapping[str, Mapping[str, int]]
    """Frames received, by path and event. Every event without a handler of its own is "*"."""
    handlers: Mapping[str, Mapping[str, HandlerStats]]
    """The time in handlers, by path and event; empty without `WSRoom(metrics=True)`."""
    frames_in: int
    """Frames received: those of `events`, and those that could not be read."""
    bytes_in: int
    """Bytes received. If frames are not read at the transport, those of the messages only."""
    frames_out: int
    """Frames given to sockets: one for each recipient of a message, and answers."""
    bytes_out: int
    """Their bytes, before they are deflated."""
    bad_frames: int
    """Invalid frames that count for `Limits.bad_frames`."""
    errors: Mapping[str, int]
    """`error` frames sent, by code."""
    refusals: Mapping[str, int]
    """Handshakes that were refused: "path" (unknown), "origin", "rejected" (by `on_connect`),
    "failed" (`on_connect` raised, or took too long), "unavailable" (the adapter, or several
    workers without one)."""
    closes: Mapping[tuple[str, str], int]
    """Accepted sockets that have ended, by side ("server" or "client") and code. Codes that clients
    make up are "3xxx" and "4xxx"."""
    slow_closes: int
    """Sockets that were closed because they did not read."""
    resumes: Mapping[str, int]
    """Rooms that clients resumed, by outcome: "recovered", "lost" (the client must reload) or
    "refused"; and whole resumes that could not be finished: "failed"."""
    gaps: Mapping[str, int]
    """Times that messages of a room did not reach this worker, by outcome: "filled" from the
    history, or "lost"."""
    adapter_up: bool
    """Whether the adapter's server can be reached."""
    adapter_lag: float | None
    """Seconds that the adapter's server took for this worker's last message to itself, or for which
    one has been missing; None if that is unknown."""
    adapter_waiting: int
    """Emissions of this worker that the adapter's server has not confirmed yet."""

    @property
    def rate_limited(self) -> int:
        """How many frames were refused because of a rate."""
        return self.errors.get("rate_limited", 0)


class HandlerTimes:
    """How long a handler has run: counts of calls by duration, which `BOUNDS` classifies."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def measured(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return a function that does the same and counts its time."""

        async def call(*args: Any) -> Any:
            work = function(*args)
            started = perf_counter()
            try:
                return await work
            finally:
                elapsed = perf_counter() - started
                self.seconds += elapsed
                self.buckets[bisect_left(BOUNDS, elapsed)] += 1

        return call


class EventTraffic:
    """Counts the frames of one event on one path."""

    __slots__ = ("received", "times")

    def __init__(self, measured: bool) -> None:
        self.received = 0
        self.times = HandlerTimes() if measured else None


class Counters:
    """What a worker counts for all of its sockets together."""

    __slots__ = (
        "bad_frames",
        "bytes_in",
        "bytes_out",
        "closes",
        "errors",
        "frames_out",
        "gaps_lost",
        "refusals",
        "resumes",
        "slow_closes",
        "unread_frames",
    )

    def __init__(self) -> None:
        self.bytes_in = 0
        self.frames_out = 0
        self.bytes_out = 0
        self.unread_frames = 0
        """Frames that are none of the protocol, so that they have no event."""
        self.bad_frames = 0
        self.slow_closes = 0
        self.gaps_lost = 0
        self.errors: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.resumes: dict[str, int] = {}
        self.closes: dict[tuple[str, str], int] = {}

    def error(self, code: str) -> None:
        """Count an `error` frame."""
        _count(self.errors, code, OTHER)

    def refused(self, reason: str) -> None:
        """Count a handshake that was refused."""
        _count(self.refusals, reason, OTHER)

    def resumed(self, outcome: str) -> None:
        """Count a room that a client resumed."""
        _count(self.resumes, outcome, OTHER)

    def closed(self, side: str, code: int) -> None:
        """Count the end of a socket."""
        name = str(code)
        if side == BY_CLIENT and not 1000 <= code < 1016:
            name = f"{name[0]}xxx" if 3000 <= code < 5000 else OTHER
        _count(self.closes, (side, name), (side, OTHER))


def _count(counts: dict[K, int], key: K, other: K) -> None:
    if key not in counts and len(counts) >= MOST_KEYS:
        key = other
    counts[key] = counts.get(key, 0) + 1
