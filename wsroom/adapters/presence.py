"""What an adapter for presence must do besides. `wsroom.testing.contract` checks it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from wsroom.errors import SetupError
from wsroom.wire.emission import Room
from wsroom.wire.presence import Cards, PresenceAnswer, Step


class PresenceAdapter(ABC):
    """An adapter that also keeps the tables of the members of rooms.

    It is optional: an app that uses presence does not start with an adapter without it.

    What it delivers for a room with presence are emissions of the kind PRESENCE, volatile and
    without an offset, to each worker that has subscribed to the room: each change once, in the
    order of its positions. If it cannot be sure that a worker has got all of them, it delivers one
    to that worker with an empty payload.
    """

    @abstractmethod
    async def change_presence(
        self, room: Room, worker: str, number: int, steps: Sequence[Step] = (), *, whole: bool
    ) -> PresenceAnswer:
        """Carry out the steps in the room's table, in order, and deliver what has changed.

        Without steps it only reads. First, graces that are over are ended. A table begins with the
        first `Enter`; without one there is nothing to keep. Raises AdapterError if it is not
        confirmed; the steps may have been carried out, or be carried out later, but not after a
        call with a higher number.

        Args:
            room: the room.
            worker: the worker whose sockets the steps are about; "" to read.
            number: higher for each call of this worker.
            steps: each can be carried out again without another effect.
            whole: whether the answer has the whole table.

        """

    async def stamp_presence(self, worker: str) -> Mapping[str, int]:
        """Count a worker's signs of life, and return the counts of all workers.

        Empty if no worker can die without the others. Raises AdapterError if it is not confirmed.
        """
        return {}

    async def unstamp_presence(self, worker: str) -> None:  # noqa: B027 (as below)
        """Note that a worker has stopped; raises AdapterError if it is not confirmed."""

    def abandon_presence(self, worker: str) -> None:  # noqa: B027 (most have nothing to forget)
        """Forget the sockets of a worker whose event loop has ended; never blocks, never raises."""


NO_PRESENCE = "this adapter has no presence; use MemoryAdapter or RedisAdapter"


async def read_members(adapter: object, room: Room) -> Cards:
    """Return the members of a room.

    Raises:
        SetupError: the adapter has no presence.
        AdapterError: it did not answer.

    """
    if not isinstance(adapter, PresenceAdapter):
        raise SetupError(NO_PRESENCE)
    answer = await adapter.change_presence(room, "", 0, whole=True)
    return {} if answer.table is None else answer.table.members
