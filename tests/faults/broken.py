"""Adapters with one mechanism less, for the harness to find what then goes wrong."""

from __future__ import annotations

from wsroom import MemoryAdapter
from wsroom.adapters import Offset
from wsroom.wire.emission import Deliver, Emission, Past, Room


class Forgetful(MemoryAdapter):
    """Says that nothing happened while a client was away."""

    async def read(self, room: Room, since: Offset | None) -> Past:
        return (await super().read(room, since))._replace(complete=True, emissions=())


class Indiscreet(MemoryAdapter):
    """Does not remember whom an emission left out."""

    async def read(self, room: Room, since: Offset | None) -> Past:
        past = await super().read(room, since)
        told = [(e._replace(except_session=""), offset) for e, offset in past.emissions]
        return past._replace(emissions=tuple(told))


class Stuttering(MemoryAdapter):
    """Delivers one emission of ten twice."""

    def _wrap(self, deliver: Deliver) -> Deliver:
        count = 0

        def stutter(emission: Emission, offset: Offset | None) -> None:
            nonlocal count
            count += 1
            for _ in range(1 + (count % 10 == 0)):
                deliver(emission, offset)

        return stutter

    async def start(self, deliver: Deliver) -> None:
        self._stuttering = self._wrap(deliver)
        await super().start(self._stuttering)

    async def stop(self, deliver: Deliver) -> None:
        await super().stop(self._stuttering)


class Hasty(Stuttering):
    """Delivers one emission of ten after the one that comes after it."""

    def _wrap(self, deliver: Deliver) -> Deliver:
        count = 0
        late: list[tuple[Emission, Offset | None]] = []

        def hurry(emission: Emission, offset: Offset | None) -> None:
            nonlocal count
            count += 1
            if count % 10 == 0:
                late.append((emission, offset))
                return
            deliver(emission, offset)
            while late and late[0][0].room == emission.room:
                deliver(*late.pop(0))

        return hurry


BROKEN: dict[str, type[MemoryAdapter]] = {
    "forgetful": Forgetful,
    "indiscreet": Indiscreet,
    "stuttering": Stuttering,
    "hasty": Hasty,
}
