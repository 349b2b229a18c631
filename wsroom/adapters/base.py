"""What an adapter must do. The tests in `wsroom.testing.contract` check it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wsroom.stats import AdapterStats
from wsroom.wire.emission import Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset


class Adapter(ABC):
    """Carries emissions from any worker to all workers, in one order for each room."""

    shared: bool = True
    """Whether workers in different processes reach each other through it."""

    @property
    def healthy(self) -> bool:
        """Whether its server can be reached."""
        return True

    def stats(self) -> AdapterStats:
        """Return what it knows of its server and has counted, for `WSRoom.stats`; cheap."""
        return AdapterStats()

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """Begin to call `deliver`, on the running event loop, with what is published from now on.

        Raises AdapterError if the server cannot be reached.
        """

    @abstractmethod
    async def stop(self, deliver: Deliver) -> None:
        """Stop calling `deliver`: after this has returned, it is not called again."""

    def abandon(self, deliver: Deliver) -> None:  # noqa: B027 (most adapters have nothing to forget)
        """Forget the `start` with this `deliver`, whose event loop has ended.

        Nothing can be awaited on that loop. That `start` may be unfinished. A `start` on another
        loop may follow.
        """

    @abstractmethod
    async def publish(self, emission: Emission) -> None:
        """Deliver `emission` once to each worker that has subscribed to its sequence.

        That includes this worker. All workers get the emissions of a sequence in one order, which
        keeps the order of the calls here. Raises AdapterError if delivery could not be confirmed.
        A volatile emission has no offset and is in no history, and each worker gets it at most
        once, in its place in that order: an adapter that cannot do that now drops it.
        """

    @abstractmethod
    async def subscribe(self, room: Room) -> Offset | None:
        """Return once this worker gets what is published to `room`, with the room's offset.

        It is called at each join, so it must be idempotent. Everything published after it has
        returned is delivered. The offset is None without a history. Raises AdapterError if the
        server does not confirm.
        """

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        """Return the emissions of a subscribed `room` since an offset, if a history is kept.

        When it returns, everything up to `Past.offset` has been delivered to this worker. If there
        are more than 300 emissions or 1 MiB, or if `since` is unknown, the answer is not complete.
        `since` is None if a client sent an invalid offset. Raises AdapterError if the server cannot
        be reached.

        With `last`, at least 1, it returns the newest `last` emissions that are kept instead, and
        ignores `since`. It returns the newest of them if they are over 300 or 1 MiB, and fewer if
        fewer are kept; the answer is complete.
        """
        return Past(None, complete=False)

    @abstractmethod
    def unsubscribe(self, room: Room) -> None:
        """Note that this worker has no more members in `room`; never blocks, never raises."""
