"""The adapter of a single process."""

from __future__ import annotations

from wsroom.adapters.base import Adapter, Deliver, Emission
from wsroom.rooms import Room


class MemoryAdapter(Adapter):
    """Delivers at once, within `publish`, in the process it lives in.

    Several apps in one process may share one: they see each other's rooms as workers would.
    """

    shared = False

    def __init__(self) -> None:
        self._delivers: list[Deliver] = []

    async def start(self, deliver: Deliver) -> None:
        self._delivers.append(deliver)

    async def stop(self, deliver: Deliver) -> None:
        self._delivers.remove(deliver)

    async def publish(self, emission: Emission) -> None:
        for deliver in self._delivers:
            deliver(emission, None)

    async def subscribe(self, room: Room) -> str | None:
        return None

    def unsubscribe(self, room: Room) -> None:
        pass
