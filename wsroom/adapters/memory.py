"""The adapter of a single process: delivers at once, and keeps a history."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from time import monotonic, time

from wsroom.adapters.base import Adapter
from wsroom.adapters.history import History
from wsroom.adapters.presence import PresenceAdapter
from wsroom.adapters.presence_table import Table
from wsroom.wire.emission import PRESENCE, Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset
from wsroom.wire.presence import PresenceAnswer, Step
from wsroom.wire.protocol import SOCKET_ID_PREFIX


class MemoryAdapter(Adapter, PresenceAdapter):
    """Delivers within `publish`, in one process. It has presence.

    Several apps in that process may share an adapter; they then share their rooms, as workers do.

    Args:
        history: how many messages of each room are kept for clients that reconnect; 0 for none.
        ttl: how many seconds they are kept after the room's last message, and how long a room
            without members is remembered.
        max_bytes: the size of all histories together; beyond it, messages of the rooms with the
            oldest last message are removed.

    Raises:
        SetupError: a number is out of its range.

    """

    shared = False

    def __init__(
        self, history: int = 100, ttl: float = 300, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._delivers: list[Deliver] = []
        self._history = History(history, ttl, max_bytes)
        self._tables: dict[Room, Table] = {}
        self._ahead = 0.0  # seconds by which tests have set the clock of graces forward

    async def start(self, deliver: Deliver) -> None:
        # Not in __init__: a process that has an adapter may be forked, and names must be unique.
        self._history.name = self._history.name or secrets.token_urlsafe(6)
        self._delivers.append(deliver)

    async def stop(self, deliver: Deliver) -> None:
        self._delivers.remove(deliver)

    def abandon(self, deliver: Deliver) -> None:
        if deliver in self._delivers:
            self._delivers.remove(deliver)

    async def publish(self, emission: Emission) -> None:
        self.publish_now(emission)

    def publish_now(self, emission: Emission) -> None:
        """Do what `publish` does, without a coroutine: the hub looks for this method."""
        offset = None if emission.volatile else self._history.append(emission, monotonic())
        for deliver in self._delivers:
            deliver(emission, offset)

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name.startswith(SOCKET_ID_PREFIX):
            return None  # messages to one socket are delivered, but not kept
        return self._history.subscribe(room, monotonic())

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        now = monotonic()
        origin = time() - now
        if last is not None:
            return self._history.read_last(room, last, now, origin)
        return self._history.read(room, since, now, origin)

    def unsubscribe(self, room: Room) -> None:
        self._history.unsubscribe(room, monotonic())

    async def change_presence(
        self, room: Room, worker: str, number: int, steps: Sequence[Step] = (), *, whole: bool
    ) -> PresenceAnswer:
        table = self._tables.get(room) or Table(secrets.token_urlsafe(6))
        now = monotonic() + self._ahead
        notice = table.change(worker, steps, now)
        if table:
            self._tables[room] = table
        else:
            self._tables.pop(room, None)
        if notice is not None:
            emission = Emission(room, notice.encode(), kind=PRESENCE, volatile=True)
            for deliver in self._delivers:
                deliver(emission, None)
        return table.answer(now, whole=whole)

    def abandon_presence(self, worker: str) -> None:
        for room, table in list(self._tables.items()):
            table.bury(worker)
            if not table:
                del self._tables[room]

    def advance(self, seconds: float) -> None:
        """Set the clock of the graces forward: for tests, which need not wait."""
        self._ahead += seconds
