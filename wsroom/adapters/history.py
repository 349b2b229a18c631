"""What was emitted to rooms lately, and where each stands. No I/O and no asyncio here.

Time comes in as the argument `now`: seconds of any origin, never going back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from wsroom.errors import SetupError
from wsroom.wire.emission import Emission, Past, Room
from wsroom.wire.offsets import READ_ENTRIES, ROOM_BYTES, Offset

ENTRY_BYTES = 400
"""What an entry takes in memory beside its payload and its names."""

NAME_BYTES = 200
"""What a room's name in it takes at the most: such names are 128 bytes long."""

IDLE_LOGS = 100_000
"""Logs that are kept of rooms to which nobody is subscribed."""


class RoomLog:
    """One room's sequence, and its last emissions without a gap."""

    __slots__ = ("entries", "epoch", "last", "room", "seq", "size", "subscribed", "used")

    def __init__(self, room: Room, epoch: str) -> None:
        self.room = room
        self.epoch = epoch
        """Names this very sequence: another log of the same room has another one."""
        self.seq = 0
        """The position of the last emission."""
        self.entries: deque[tuple[Emission, int]] | None = None  # an empty one takes 700 bytes
        self.size = 0
        """Bytes of the entries."""
        self.last = 0.0
        """When the last emission came."""
        self.subscribed = True
        self.used = 0.0
        """When it was last used while nobody was subscribed."""

    def since(self, offset: Offset | None) -> Past:
        """Tell what is known of the time since `offset`."""
        now = Offset(self.epoch, self.seq)
        if offset is None or offset.epoch != self.epoch or offset.seq > self.seq:
            return Past(now, complete=False)
        missed = self.seq - offset.seq
        if not missed:
            return Past(now, complete=True)
        entries = self.entries or ()
        if missed > min(len(entries), READ_ENTRIES):
            return Past(now, complete=False)
        found = islice(entries, len(entries) - missed, None)
        return Past(
            now,
            complete=True,
            emissions=tuple(
                (emission, Offset(self.epoch, seq))
                for seq, (emission, _) in enumerate(found, offset.seq + 1)
            ),
        )


class History:
    """The logs of many rooms, bounded.

    A log is kept while its room is subscribed to, and for `ttl` after its last use. Its entries go
    when nothing has come for `ttl`; beyond `history` of them, and beyond 1 MiB, the oldest go. Over
    `max_bytes` in all, entries of the rooms go to which nothing has come for longest. Time is
    looked at whenever something is asked or added; each entry is looked at twice at the most.

    Args:
        history: entries of a room; 0 keeps where it stands and nothing else.
        ttl: seconds.
        max_bytes: bytes of all entries.
        idle: logs that are kept of rooms to which nobody is subscribed; the oldest go.

    Raises:
        SetupError: a number is out of its range.

    """

    def __init__(self, history: int, ttl: float, max_bytes: int, *, idle: int = IDLE_LOGS) -> None:
        if type(history) is not int or history < 0:
            raise SetupError(f"history is {history!r}; use a count of messages, or 0 for none")
        if not (isinstance(ttl, (int, float)) and ttl > 0):
            raise SetupError(f"ttl is {ttl!r}; use seconds above 0")
        if type(max_bytes) is not int or max_bytes <= 0:
            raise SetupError(f"max_bytes is {max_bytes!r}; use a number of bytes above 0")
        self.name = ""
        """What all epochs begin with; whoever lets time pass by it makes it unique."""
        self.size = 0
        """Bytes of all entries."""
        self._history = history
        self._ttl = ttl
        self._max_bytes = max_bytes
        self._max_idle = idle
        self._made = 0
        self._logs: dict[Room, RoomLog] = {}
        # Both in the order in which they run out of time, so only the first is looked at.
        self._filled: OrderedDict[Room, RoomLog] = OrderedDict()
        self._idle: OrderedDict[Room, RoomLog] = OrderedDict()
        self._newest: RoomLog | None = None  # the last of those filled: a busy room moves nothing
        self._due = 0.0  # when something may have run out of time

    def __len__(self) -> int:
        return len(self._logs)

    def subscribe(self, room: Room, now: float) -> Offset:
        """Keep the room's log from now on; return the offset at which it stands."""
        if now >= self._due:
            self._expire(now)
        log = self._logs.get(room)
        if log is None:
            self._made += 1
            log = self._logs[room] = RoomLog(room, f"{self.name}{self._made:x}")
        elif not log.subscribed:
            log.subscribed = True
            del self._idle[room]
        return Offset(log.epoch, log.seq)

    def unsubscribe(self, room: Room, now: float) -> None:
        """Nobody hears the room any more: keep its log for a while."""
        log = self._logs.get(room)
        if log is None or not log.subscribed:
            return
        log.subscribed = False
        log.used = now
        self._idle[room] = log
        if len(self._idle) > self._max_idle:
            self._drop(next(iter(self._idle.values())))

    def append(self, emission: Emission, now: float) -> Offset | None:
        """Add an emission to its room's log; return its offset.

        None where there is no log, so that nobody can ever ask for what came.
        """
        if now >= self._due:
            self._expire(now)
        log = self._logs.get(emission.room)
        if log is None:
            return None
        log.seq = seq = log.seq + 1
        if not log.subscribed:
            log.used = now
            self._idle.move_to_end(log.room)
        if self._history:
            self._keep(log, emission, now)
        return Offset(log.epoch, seq)

    def read(self, room: Room, since: Offset | None, now: float) -> Past:
        """Tell what happened in the room since the offset."""
        if now >= self._due:
            self._expire(now)
        log = self._logs.get(room)
        return Past(None, complete=False) if log is None else log.since(since)

    def _keep(self, log: RoomLog, emission: Emission, now: float) -> None:
        entries = log.entries
        if entries is None:
            entries = log.entries = deque()
        size = len(emission.payload) + ENTRY_BYTES
        if emission.rooms or emission.except_rooms:
            size += NAME_BYTES * (len(emission.rooms) + len(emission.except_rooms))
        entries.append((emission, size))
        log.last = now
        if self._newest is not log:
            self._newest = self._filled[log.room] = log
            self._filled.move_to_end(log.room)
        if len(entries) > self._history:
            size -= entries.popleft()[1]
        log.size += size
        self.size += size
        while log.size > ROOM_BYTES:
            self._pop(log)
        while self.size > self._max_bytes:
            self._pop(self._first(self._filled))

    def _pop(self, log: RoomLog) -> None:
        assert log.entries
        _, size = log.entries.popleft()
        log.size -= size
        self.size -= size
        if not log.entries:
            self._clear(log)

    def _clear(self, log: RoomLog) -> None:
        if log.entries is not None:
            self.size -= log.size
            log.size = 0
            log.entries = None
            del self._filled[log.room]
            if self._newest is log:
                self._newest = None

    def _drop(self, log: RoomLog) -> None:
        self._clear(log)
        del self._idle[log.room]
        del self._logs[log.room]

    def _expire(self, now: float) -> None:
        filled, idle = self._filled, self._idle
        old = now - self._ttl
        while filled and self._first(filled).last <= old:
            self._clear(self._first(filled))
        while idle and self._first(idle).used <= old:
            self._drop(self._first(idle))
        oldest = self._first(filled).last if filled else now
        if idle:
            oldest = min(oldest, self._first(idle).used)
        self._due = oldest + self._ttl

    @staticmethod
    def _first(logs: OrderedDict[Room, RoomLog]) -> RoomLog:
        return next(iter(logs.values()))
