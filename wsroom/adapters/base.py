"""What an adapter must do. The tests in `wsroom.testing.contract` check it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wsroom.wire.emission import Deliver, Emission, Past, Room
from wsroom.wire.offsets import Offset


class Adapter(ABC):
    """Carries emissions from any worker to all workers, in one order for each room."""

    shared: bool = True
    """Whether workers in different processes reach each other through it."""

    @property
    def healthy(self) -> bool:
        """Whether its broker can be reached."""
        return True

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """Begin to call `deliver`, on the running event loop, with what is published from now on.

        Raises AdapterError where the broker cannot be reached.
        """

    @abstractmethod
    async def stop(self, deliver: Deliver) -> None:
        """End it: when this has returned, `deliver` is not called any more."""

    def abandon(self, deliver: Deliver) -> None:  # noqa: B027 (most have nothing to forget)
        """Forget the start with this `deliver`, whose event loop has ended.

        Nothing can be awaited there any more. What follows is a `start` on another loop, if
        anything; the start that is forgotten may not have been finished.
        """

    @abstractmethod
    async def publish(self, emission: Emission) -> None:
        """Carry `emission`, once, to every worker that has subscribed to its sequence, and here.

        All of them see the emissions of a sequence in one order; those of one caller in its order.
        Raises AdapterError where that cannot be said to have happened.
        """

    @abstractmethod
    async def subscribe(self, room: Room) -> Offset | None:
        """Return once this worker hears `room`, with the offset at which it stands.

        Idempotent: called at every join. Nothing published after it returned passes by. The offset
        is None where no history is kept. Raises AdapterError where the broker does not confirm.
        """

    async def read(self, room: Room, since: Offset | None) -> Past:
        """Return what happened in a subscribed `room` since the offset, if a history is kept.

        `since` is None if the client sent something that is not an offset: never complete.

        When it has returned, this worker has been delivered everything up to `Past.offset`.
        300 emissions or 1 MiB are the most; more is not complete. Raises AdapterError where the
        broker cannot be reached.
        """
        return Past(None, complete=False)

    @abstractmethod
    def unsubscribe(self, room: Room) -> None:
        """Note that this worker has no member in `room` any more; never waits, never raises."""
