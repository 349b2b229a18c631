"""Compares what publishers sent with what clients received. No I/O and no asyncio here.

A publisher records each message: when it was sent, and when a reply accepted it. A client records
an entry for each message, for each of its joins, and for each report that messages were lost (a
gap): in each of its rooms, including the path (""). `check` compares the two.

The guarantees that it checks: one order for all clients, which keeps the order of each publisher's
accepted messages; no copy twice, whether accepted or not; every accepted message that was sent
while the client was a member, or else a gap that was reported before any later message.
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
GAP = "gap"
NOTE = "note"


class Key(NamedTuple):
    """Identifies a message: its publisher, and its number there."""

    by: str
    n: int

    def __str__(self) -> str:
        return f"{self.by}-{self.n}"


@dataclass(slots=True)
class SentMessage:
    """A message, as its publisher recorded it."""

    key: Key
    room: str
    """The room that sequences it: "" for a path-wide message, and for one to several rooms."""
    sent: float
    accepted: float | None = None
    """When its reply arrived. None: it may have been emitted, or may still be emitted."""
    rooms: tuple[str, ...] = ()
    """The rooms of a message to several rooms: their union receives one copy each."""
    without: str = ""
    """The client that must never receive it."""
    volatile: bool = False
    """Whether it may be lost: then it counts as not accepted."""


class Entry(NamedTuple):
    """One event of a client in a room."""

    time: float
    kind: str
    key: Key | None = None
    detail: str = ""


class Membership(NamedTuple):
    """A client in a room."""

    client: str
    room: str


Trace = list[Entry]
Traces = Mapping[Membership, Trace]


class Flaw(NamedTuple):
    """A guarantee that was broken."""

    kind: str
    """`lost`, `doubled`, `reordered`, `leaked` (not for this client) or `invented`."""
    membership: Membership
    key: Key
    detail: str = ""


class Segment(NamedTuple):
    """A period in a room, from the reply to the join."""

    joined: float
    entries: Trace
    open: bool
    """Whether it has not ended: every accepted message must have arrived."""


def check(said: Iterable[SentMessage], traces: Traces, late: float = 0) -> list[Flaw]:
    """Return every broken guarantee.

    `late` is how many seconds after a later message a gap may be reported: if two servers accept
    messages, only the worker that used the wrong one can report the loss, and learns of it later.
    """
    messages = {message.key: message for message in said}
    flaws: list[Flaw] = []
    for member, trace in traces.items():
        flaws += _doubled(member, trace)
        flaws += _unexpected(member, trace, messages)
        flaws += _publishers_order(member, trace, messages)
    for room in sorted({member.room for member in traces}):
        here = {member: trace for member, trace in traces.items() if member.room == room}
        order = _Order(room, [m for m in messages.values() if m.room == room], here)
        flaws += order.contradiction()
        for member, trace in here.items():
            flaws += _lost(member, trace, order, traces, late)
    return flaws


class Kick(NamedTuple):
    """A client that was taken out of a room for good."""

    client: str
    room: str
    confirmed: float
    """When that was confirmed: nothing that was sent later may reach the client."""


def check_kicks(kicks: Iterable[Kick], said: Iterable[SentMessage], traces: Traces) -> list[Flaw]:
    """Return what clients received of rooms that they had been taken out of."""
    sent = {message.key: message.sent for message in said}
    return [
        Flaw("leaked", member, key, f"sent {sent[key] - kick.confirmed:.3f} s after the kick")
        for kick in kicks
        for member in [Membership(kick.client, kick.room)]
        for key in keys(traces.get(member, []))
        if sent[key] > kick.confirmed
    ]


def keys(trace: Iterable[Entry]) -> Iterator[Key]:
    """Return the messages of a trace, in order."""
    return (entry.key for entry in trace if entry.kind == MESSAGE and entry.key is not None)


def segments(trace: Trace) -> list[Segment]:
    """Return the periods of membership in a trace."""
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
    """Format the part of a trace near a message, or near the time at which it was sent."""
    at = next((i for i, e in enumerate(trace) if e.key == key), None)
    if at is None:
        at = next((i for i, e in enumerate(trace) if e.time >= sent), len(trace))
    part = trace[max(0, at - size) : at + 3 * size]
    return " ".join(f"{e.time:.3f}:{e.key or e.detail or e.kind}" for e in part)


class _Order:
    """What is known about one room's order: from the clients' traces, and from the clock.

    The clock: a message that was accepted before another was sent precedes it.
    """

    def __init__(self, room: str, messages: list[SentMessage], traces: Traces) -> None:
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
        """Find a cycle: no single order agrees with all traces."""
        try:
            TopologicalSorter(self._previous).prepare()
        except CycleError as exc:
            circle = exc.args[1]
            names = " ".join(str(key) for key in circle[:8])
            return [Flaw("reordered", Membership("everybody", self.room), circle[0], names)]
        return []

    def after(self, message: SentMessage) -> set[Key]:
        """Return the messages that certainly follow `message`."""
        if message.key not in self._after:
            accepted = message.accepted
            later = {m.key for m in self.messages if accepted and m.sent > accepted}
            self._after[message.key] = _reach(later | {message.key}, self._next)
        return self._after[message.key] - {message.key}

    def before(self, message: SentMessage) -> set[Key]:
        """Return the messages that certainly precede `message`."""
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


def _doubled(member: Membership, trace: Trace) -> Iterator[Flaw]:
    seen: set[Key] = set()
    for key in keys(trace):
        if key in seen:
            yield Flaw("doubled", member, key, around(trace, key, 0))
        seen.add(key)


def _unexpected(
    member: Membership, trace: Trace, messages: Mapping[Key, SentMessage]
) -> Iterator[Flaw]:
    for key in keys(trace):
        if key not in messages or messages[key].room != member.room:
            yield Flaw("invented", member, key)
        elif messages[key].without == member.client:
            yield Flaw("leaked", member, key)


def _publishers_order(
    member: Membership, trace: Trace, messages: Mapping[Key, SentMessage]
) -> Iterator[Flaw]:
    last: dict[str, int] = {}
    for key in dict.fromkeys(keys(trace)):
        # A message that was not accepted may arrive at any time: its publisher did not wait.
        if key in messages and messages[key].accepted is not None:
            if key.n < last.get(key.by, -1):
                yield Flaw("reordered", member, key, around(trace, key, 0))
            last[key.by] = key.n


def _lost(
    member: Membership, trace: Trace, order: _Order, traces: Traces, late: float
) -> Iterator[Flaw]:
    seen = set(keys(trace))
    for segment in segments(trace):
        for message in order.messages:
            if (
                message.accepted is not None
                and message.key not in seen
                and message.without != member.client
                and message.sent >= segment.joined
                and _is_for(message, member.client, traces)
                and not _covered_by_gap(message, segment, order, late)
            ):
                detail = around(trace, message.key, message.sent)
                yield Flaw("lost", member, message.key, detail)


def _is_for(message: SentMessage, client: str, traces: Traces) -> bool:
    """Whether a message to several rooms is for a client that was in one of them all the time."""
    return not message.rooms or any(
        segment.joined <= message.sent and segment.open
        for room in message.rooms
        for segment in segments(traces.get(Membership(client, room), []))
    )


def _covered_by_gap(message: SentMessage, segment: Segment, order: _Order, late: float) -> bool:
    """Whether a gap was reported where `message` is missing, or the client left about then."""
    before, after = order.before(message), order.after(message)
    passed = [bool(entry.key and entry.key in after) for entry in segment.entries]
    ahead = [bool(entry.key and entry.key in before) for entry in segment.entries]
    followed = next((e.time for e, it in zip(segment.entries, passed, strict=True) if it), None)
    for i, entry in enumerate(segment.entries):
        reported = entry.kind == GAP and entry.time >= message.sent
        in_time = not any(passed[:i]) or (followed is not None and entry.time - followed < late)
        if reported and in_time and not any(ahead[i:]):
            return True
    return not segment.open and not any(passed)
