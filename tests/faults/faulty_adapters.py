"""Adapters that break one guarantee each, to show that the fault tests detect it."""

from __future__ import annotations

from wsroom import MemoryAdapter
from wsroom.adapters import Offset
from wsroom.wire.emission import Deliver, Emission, Past, Room


class NoReplay(MemoryAdapter):
    """Reports that nothing was emitted while a client was disconnected."""

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        return (await super().read(room, since, last))._replace(
            complete=True, emissions=(), times=()
        )


class NoExclusion(MemoryAdapter):
    """Forgets which session an emission excluded."""

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        past = await super().read(room, since, last)
        emissions = [(e._replace(except_session=""), offset) for e, offset in past.emissions]
        return past._replace(emissions=tuple(emissions))


class Duplicating(MemoryAdapter):
    """Delivers one emission of ten twice."""

    def _wrap(self, deliver: Deliver) -> Deliver:
        count = 0

        def duplicate(emission: Emission, offset: Offset | None) -> None:
            nonlocal count
            count += 1
            for _ in range(1 + (count % 10 == 0)):
                deliver(emission, offset)

        return duplicate

    async def start(self, deliver: Deliver) -> None:
        self._wrapped = self._wrap(deliver)
        await super().start(self._wrapped)

    async def stop(self, deliver: Deliver) -> None:
        await super().stop(self._wrapped)


class Reordering(Duplicating):
    """Delivers one emission of ten after the following one."""

    def _wrap(self, deliver: Deliver) -> Deliver:
        count = 0
        late: list[tuple[Emission, Offset | None]] = []

        def reorder(emission: Emission, offset: Offset | None) -> None:
            nonlocal count
            count += 1
            if count % 10 == 0:
                late.append((emission, offset))
                return
            deliver(emission, offset)
            while late and late[0][0].room == emission.room:
                deliver(*late.pop(0))

        return reorder


FAULTY: dict[str, type[MemoryAdapter]] = {
    "no-replay": NoReplay,
    "no-exclusion": NoExclusion,
    "duplicating": Duplicating,
    "reordering": Reordering,
}
