"""The adapter of a single process."""

from __future__ import annotations

import secrets
from time import monotonic

from wsroom.adapters.base import Adapter
from wsroom.adapters.history import History
from wsroom.wire.emission import Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import SOCKET_ID_PREFIX


class MemoryAdapter(Adapter):
    """Delivers at once, within `publish`, in the process it lives in.

    Several apps in one process may share one: they see each other's rooms as workers would.

    Args:
        history: messages of each room that are kept for clients that come back; 0 for none.
        ttl: seconds for which they are kept after the room's last one, and for which a room
            without members is remembered.
        max_bytes: bytes of all rooms' history together; over it the longest unused goes.

    Raises:
        SetupError: a number is out of its range.

    """

    shared = False

    def __init__(
        self, history: int = 100, ttl: float = 300, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._delivers: list[Deliver] = []
        self._history = History(history, ttl, max_bytes)

    async def start(self, deliver: Deliver) -> None:
        # Made here, not with the adapter: processes are forked from one that has an adapter.
        self._history.name = self._history.name or secrets.token_urlsafe(6)
        self._delivers.append(deliver)

    async def stop(self, deliver: Deliver) -> None:
        self._delivers.remove(deliver)

    def abandon(self, deliver: Deliver) -> None:
        if deliver in self._delivers:
            self._delivers.remove(deliver)

    async def publish(self, emission: Emission) -> None:
        offset = self._history.append(emission, monotonic())
        for deliver in self._delivers:
            deliver(emission, offset)

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name.startswith(SOCKET_ID_PREFIX):
            return None  # no log: what is for one socket is delivered, and not kept
        return self._history.subscribe(room, monotonic())

    async def read(self, room: Room, since: Offset | None) -> Past:
        return self._history.read(room, since, monotonic())

    def unsubscribe(self, room: Room) -> None:
        self._history.unsubscribe(room, monotonic())
