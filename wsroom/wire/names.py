"""Checks the names of events and rooms that this side uses. No I/O and no asyncio here."""

from __future__ import annotations

from wsroom.limits import Limits
from wsroom.wire.protocol import RESERVED, event_name_error, room_name_error

MAX_NAMES = 10_000
"""How many events, and how many rooms, a checker remembers; beyond it, it forgets them all."""


class NameChecker:
    """Checks names of events and rooms, and remembers the valid ones, so that emitting is fast.

    Args:
        limits: the longest allowed names; None if only the other side knows its limits.

    """

    __slots__ = ("_events", "_limits", "_rooms")

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._events: set[str] = set()
        self._rooms: set[str] = set()

    def check_event(self, event: str) -> None:
        """Raise ValueError if an app must not emit or handle an event with this name."""
        if event in self._events:
            return
        if event in RESERVED:
            raise ValueError(f"event {event!r} is part of the protocol; use another name")
        if problem := event_name_error(event, self._limits):
            raise ValueError(f"event {event!r} {problem}; use another name")
        _remember(self._events, event)

    def check_room(self, room: str) -> None:
        """Raise ValueError if `room` is not a valid name of a room, or the id of a socket."""
        if type(room) is str and room in self._rooms:  # any other type may not be hashable
            return
        if problem := room_name_error(room, self._limits):
            raise ValueError(f"room {room!r} {problem}; use another name")
        _remember(self._rooms, room)


def _remember(known: set[str], name: str) -> None:
    # Bounded, because names may come from clients.
    if len(known) >= MAX_NAMES:
        known.clear()
    known.add(name)
