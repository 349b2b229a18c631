"""The last emissions of each room, and its offset. No I/O and no asyncio here.

The argument `now` is the time in seconds since any origin; it never decreases.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from wsroom.errors import SetupError
from wsroom.wire.emission import Emission, Past, Room
from wsroom.wire.offsets import READ_ENTRIES, ROOM_BYTES, Offset

ENTRY_BYTES = 400
"""Memory that an entry takes besides its payload and its names."""

NAME_BYTES = 200
"""Memory that a room's name in it takes at most: a name has up to 128 bytes."""

IDLE_LOGS = 100_000
"""How many logs are kept of rooms that are not subscribed."""


class RoomLog:
    """The sequence of one room, and its last emissions without a gap."""

    __slots__ = ("entries", "epoch", "last", "room", "seq", "size", "subscribed", "used")

    def __init__(self, room: Room, epoch: str) -> None:
        self.room = room
        self.epoch = epoch
        """The name of this sequence; a later log of the same room has another one."""
        self.seq = 0
        """The number of the last emission."""
        self.entries: deque[tuple[Emission, int]] | None = None  # an empty one takes 700 bytes
        self.size = 0
        """Size of the entries in bytes."""
        self.last = 0.0
        """Time of the last emission."""
        self.subscribed = True
        self.used = 0.0
        """Time of its last use while it was not subscribed."""

    def read(self, offset: Offset | None) -> Past:
        """Return the emissions after `offset`."""
        now = Offset(self.epoch, self.seq)
        if offset is None or offset.epoch != self.epoch or offset.seq > self.seq:
            return Past(now, complete=False)
        missed = self.seq - offset.seq
        if missed > min(len(self.entries or ()), READ_ENTRIES):
            return Past(now, complete=False)
        return self._newest(missed)

    def read_last(self, last: int) -> Past:
        """Return the last emissions, at most `last`."""
        return self._newest(min(last, len(self.entries or ()), READ_ENTRIES))

    def _newest(self, count: int) -> Past:
        entries = self.entries or ()
        found = islice(entries, len(entries) - count, None)
        return Past(
            Offset(self.epoch, self.seq),
            complete=True,
            emissions=tuple(
                (emission, Offset(self.epoch, seq))
                for seq, (emission, _) in enumerate(found, self.seq - count + 1)
            ),
        )


class History:
    """The logs of many rooms, within bounds.

    A log is kept while its room is subscribed, and for `ttl` after its last use. Its entries are
    removed `ttl` after the last emission; the oldest ones beyond `history` of them, and beyond
    1 MiB. Beyond `max_bytes` for all rooms, entries of the rooms with the oldest last emission are
    removed. Each call but `unsubscribe` removes what has expired; each entry is visited at most
    twice.

    Args:
        history: how many entries a room has at most; with 0, only its offset is kept.
        ttl: seconds.
        max_bytes: size of all entries.
        idle: how many logs are kept of rooms that are not subscribed; the oldest are removed.

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
        """Prefix of all epochs; the user of this class makes it unique."""
        self.size = 0
        """Size of all entries in bytes."""
        self._history = history
        self._ttl = ttl
        self._max_bytes = max_bytes
        self._max_idle = idle
        self._made = 0
        self._logs: dict[Room, RoomLog] = {}
        # Both are in the order of expiry, so only the first one is checked.
        self._filled: OrderedDict[Room, RoomLog] = OrderedDict()
        self._idle: OrderedDict[Room, RoomLog] = OrderedDict()
        self._newest: RoomLog | None = None  # the last of _filled: a busy room is not moved
        self._due = 0.0  # when something may expire

    def __len__(self) -> int:
        return len(self._logs)

    def subscribe(self, room: Room, now: float) -> Offset:
        """Keep the room's log from now on; return its offset."""
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
        """Keep the room's log for `ttl` only."""
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

        Return None if the room has no log: then no client can ask for its emissions.
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
        """Return the emissions of the room after the offset."""
        if now >= self._due:
            self._expire(now)
        log = self._logs.get(room)
        return Past(None, complete=False) if log is None else log.read(since)

    def read_last(self, room: Room, last: int, now: float) -> Past:
        """Return the room's last emissions, at most `last`."""
        if now >= self._due:
            self._expire(now)
        log = self._logs.get(room)
        return Past(None, complete=False) if log is None else log.read_last(last)

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
