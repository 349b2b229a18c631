"""What clients saw, and what is wrong with it. No I/O and no asyncio here.

A publisher notes each message: when it was sent, and when a reply accepted it. A client notes for
each of its rooms, the path "" among them, an entry for each message and for what it was told: that
it has joined, that messages were lost (a hole). `check` compares the two.

The promises it holds them to: one order for all, that of each publisher's accepted messages in it;
no copy twice, whether accepted or not; every accepted message that was sent while the client was
a member, or else a hole that was told right there, before anything that came after the message.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import NamedTuple

MESSAGE = "message"
JOINED = "joined"
LEFT = "left"
HOLE = "hole"
NOTE = "note"


class Key(NamedTuple):
    """A message's publisher, and its number there: what identifies it."""

    by: str
    n: int

    def __str__(self) -> str:
        return f"{self.by}-{self.n}"


@dataclass(slots=True)
class Said:
    """A message as its publisher knows it."""

    key: Key
    room: str
    """The room whose order it is part of: "" for path-wide ones and those to several rooms."""
    sent: float
    accepted: float | None = None
    """When its reply came. None: it may have been emitted, or not, or yet will be."""
    rooms: tuple[str, ...] = ()
    """The several rooms that it is for, one copy each to their union."""
    without: str = ""
    """The client that must never get it."""


class Entry(NamedTuple):
    """One line of what a client saw of a room."""

    time: float
    kind: str
    key: Key | None = None
    detail: str = ""


class Place(NamedTuple):
    client: str
    room: str


Trace = list[Entry]
Traces = Mapping[Place, Trace]


class Flaw(NamedTuple):
    """A broken promise."""

    kind: str
    """`lost`, `doubled`, `reordered`, `leaked` (not for this client) or `invented`."""
    place: Place
    key: Key
    detail: str = ""


class Segment(NamedTuple):
    """A time of membership, from the answer to the join on."""

    joined: float
    entries: Trace
    open: bool
    """Whether it had no end: what was accepted by then must have arrived."""


def check(said: Iterable[Said], traces: Traces, late: float = 0) -> list[Flaw]:
    """Return every broken promise; an empty list is what tests hope for.

    `late` is how many seconds after what follows a hole may be told yet: where two servers take
    messages, only who gave one to the wrong server can tell of it, and sees that later.
    """
    messages = {message.key: message for message in said}
    flaws: list[Flaw] = []
    for place, trace in traces.items():
        flaws += _doubled(place, trace)
        flaws += _misled(place, trace, messages)
        flaws += _publishers_order(place, trace, messages)
    for room in sorted({place.room for place in traces}):
        here = {place: trace for place, trace in traces.items() if place.room == room}
        order = _Order(room, [m for m in messages.values() if m.room == room], here)
        flaws += order.contradiction()
        for place, trace in here.items():
            flaws += _lost(place, trace, order, traces, late)
    return flaws


def keys(trace: Iterable[Entry]) -> Iterator[Key]:
    """The messages of a trace, in its order."""
    return (entry.key for entry in trace if entry.kind == MESSAGE and entry.key is not None)


def segments(trace: Trace) -> list[Segment]:
    """The times of membership in a trace."""
    found: list[Segment] = []
    for entry in trace:
        if entry.kind == JOINED:
            found.append(Segment(entry.time, [], True))
        elif found and found[-1].open:
            if entry.kind == LEFT:
                found[-1] = found[-1]._replace(open=False)
            else:
                found[-1].entries.append(entry)
    return found


def around(trace: Trace, key: Key, sent: float, size: int = 4) -> str:
    """The part of a trace near a message, or near its time, for people."""
    at = next((i for i, e in enumerate(trace) if e.key == key), None)
    if at is None:
        at = next((i for i, e in enumerate(trace) if e.time >= sent), len(trace))
    part = trace[max(0, at - size) : at + size]
    return " ".join(f"{e.time:.3f}:{e.key or e.kind}" for e in part)


class _Order:
    """What is known of one room's order: from what clients saw, and from the clock.

    The clock: a message that was accepted before another was sent comes before it.
    """

    def __init__(self, room: str, messages: list[Said], traces: Traces) -> None:
        self.room = room
        self.messages = messages
        self._next: dict[Key, set[Key]] = defaultdict(set)
        self._previous: dict[Key, set[Key]] = defaultdict(set)
        for trace in traces.values():
            for one, two in pairwise(dict.fromkeys(keys(trace))):
                self._next[one].add(two)
                self._previous[two].add(one)
        self._after: dict[Key, set[Key]] = {}
        self._before: dict[Key, set[Key]] = {}

    def contradiction(self) -> list[Flaw]:
        """A circle: no one order agrees with what everybody saw."""
        try:
            TopologicalSorter(self._previous).prepare()
        except CycleError as exc:
            circle = exc.args[1]
            names = " ".join(str(key) for key in circle[:8])
            return [Flaw("reordered", Place("everybody", self.room), circle[0], names)]
        return []

    def after(self, message: Said) -> set[Key]:
        """The messages that come after `message` for certain."""
        if message.key not in self._after:
            accepted = message.accepted
            later = {m.key for m in self.messages if accepted and m.sent > accepted}
            self._after[message.key] = _reach(later | {message.key}, self._next)
        return self._after[message.key] - {message.key}

    def before(self, message: Said) -> set[Key]:
        """The messages that come before `message` for certain."""
        if message.key not in self._before:
            sent = message.sent
            earlier = {m.key for m in self.messages if m.accepted and m.accepted < sent}
            self._before[message.key] = _reach(earlier | {message.key}, self._previous)
        return self._before[message.key] - {message.key}


def _reach(start: set[Key], edges: Mapping[Key, set[Key]]) -> set[Key]:
    reached, todo = set(start), list(start)
    while todo:
        new = edges.get(todo.pop(), set()) - reached
        reached |= new
        todo += new
    return reached


def _doubled(place: Place, trace: Trace) -> Iterator[Flaw]:
    seen: set[Key] = set()
    for key in keys(trace):
        if key in seen:
            yield Flaw("doubled", place, key, around(trace, key, 0))
        seen.add(key)


def _misled(place: Place, trace: Trace, messages: Mapping[Key, Said]) -> Iterator[Flaw]:
    for key in keys(trace):
        if key not in messages or messages[key].room != place.room:
            yield Flaw("invented", place, key)
        elif messages[key].without == place.client:
            yield Flaw("leaked", place, key)


def _publishers_order(place: Place, trace: Trace, messages: Mapping[Key, Said]) -> Iterator[Flaw]:
    last: dict[str, int] = {}
    for key in dict.fromkeys(keys(trace)):
        # One that was not accepted may come whenever it likes: its publisher did not wait for it.
        if key in messages and messages[key].accepted is not None:
            if key.n < last.get(key.by, -1):
                yield Flaw("reordered", place, key, around(trace, key, 0))
            last[key.by] = key.n


def _lost(place: Place, trace: Trace, order: _Order, traces: Traces, late: float) -> Iterator[Flaw]:
    seen = set(keys(trace))
    for segment in segments(trace):
        for message in order.messages:
            if (
                message.accepted is not None
                and message.key not in seen
                and message.without != place.client
                and message.sent >= segment.joined
                and _is_for(message, place.client, traces)
                and not _excused(message, segment, order, late)
            ):
                detail = around(trace, message.key, message.sent)
                yield Flaw("lost", place, message.key, detail)


def _is_for(message: Said, client: str, traces: Traces) -> bool:
    """Whether a message to several rooms is for a member of one all the time around it."""
    return not message.rooms or any(
        segment.joined <= message.sent and segment.open
        for room in message.rooms
        for segment in segments(traces.get(Place(client, room), []))
    )


def _excused(message: Said, segment: Segment, order: _Order, late: float) -> bool:
    """Whether a hole was told where `message` is missing, or the member left about then."""
    before, after = order.before(message), order.after(message)
    passed = [bool(entry.key and entry.key in after) for entry in segment.entries]
    ahead = [bool(entry.key and entry.key in before) for entry in segment.entries]
    followed = next((e.time for e, it in zip(segment.entries, passed, strict=True) if it), None)
    for i, entry in enumerate(segment.entries):
        told = entry.kind == HOLE and entry.time >= message.sent
        in_time = not any(passed[:i]) or (followed is not None and entry.time - followed < late)
        if told and in_time and not any(ahead[i:]):
            return True
    return not segment.open and not any(passed)
