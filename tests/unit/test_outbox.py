"""What a tick has for many sockets is kept back, shortly, for what is about to come."""

from __future__ import annotations

import asyncio
import json

from tests.support.clock import HOUR, until
from wsroom import AdapterError, Limits, MemoryAdapter
from wsroom.adapters import Emission
from wsroom.delivery.frames import Chunk
from wsroom.delivery.hub import Hub
from wsroom.delivery.outbox import DELAY_FROM
from wsroom.delivery.writer import Writer
from wsroom.wire.emission import Room

CHAT = Room("/ws", "chat")


class Answering(MemoryAdapter):
    """Delivers at once, and answers some ticks later, as a broker does; or not at all."""

    def __init__(self, answer: asyncio.Event | None = None) -> None:
        super().__init__(history=0)
        self._answer = answer

    async def publish(self, emission: Emission) -> None:
        await super().publish(emission)
        for _ in range(3):
            await asyncio.sleep(0)
        if self._answer is not None:
            await self._answer.wait()
            raise AdapterError("away")


class Peer(Writer):
    """A member that notes what each of its writes would carry."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ws:1.{number}", "/ws")
        self.writes: list[list[int]] = []

    def collect(self, chunk: Chunk) -> None:
        self.writes.append([json.loads(frame.payload)["n"] for frame in chunk.frames])


async def fill(hub: Hub, count: int) -> list[Peer]:
    await hub.start()
    peers = [Peer(number) for number in range(count)]
    for peer in peers:
        hub.add(peer)
        await hub.join(peer, "chat")
    return peers


def emission(number: int) -> Emission:
    return Emission(CHAT, json.dumps({"n": number}).encode())


async def emit(hub: Hub, *numbers: int) -> None:
    """One after the other, as the handlers of one socket do."""
    for number in numbers:
        await hub.publish(emission(number))


async def test_messages_that_come_one_by_one_are_written_together() -> None:
    """Each member of a large room is written to once for what one socket said in a row."""
    hub = Hub(Answering(), Limits())
    peers = await fill(hub, DELAY_FROM)
    hub.outbox.max_delay = HOUR
    await emit(hub, 1, 2, 3)
    await until(lambda: peers[0].writes)
    assert all(peer.writes == [[1, 2, 3]] for peer in peers)
    await hub.stop()


async def test_a_small_room_does_not_wait() -> None:
    """To write to few takes less than an answer."""
    hub = Hub(Answering(), Limits())
    peers = await fill(hub, DELAY_FROM - 1)
    hub.outbox.max_delay = HOUR
    await emit(hub, 1, 2)
    assert all(peer.writes == [[1], [2]] for peer in peers)
    await hub.stop()


async def test_nobody_waits_for_an_answer_that_does_not_come() -> None:
    """Two milliseconds, and what is there leaves; then nothing is waited for any more."""
    answer = asyncio.Event()
    hub = Hub(Answering(answer), Limits())
    peers = await fill(hub, DELAY_FROM)
    emitting = asyncio.create_task(emit(hub, 1))
    await until(lambda: peers[-1].writes)
    answer.set()
    await asyncio.wait([emitting])
    assert isinstance(emitting.exception(), AdapterError)
    hub.outbox.max_delay = HOUR
    hub.deliver(emission(2), None)
    await until(lambda: len(peers[-1].writes) == 2)
    assert all(peer.writes == [[1], [2]] for peer in peers)
    await hub.stop()


async def test_what_is_kept_back_leaves_before_a_stop() -> None:
    """An app that says its last words stops after them, and can be started again."""
    answer = asyncio.Event()
    hub = Hub(Answering(answer), Limits())
    peers = await fill(hub, DELAY_FROM)
    hub.outbox.max_delay = HOUR
    emitting = asyncio.create_task(emit(hub, 1))
    await until(lambda: hub.outbox._delay)
    await hub.stop()
    assert all(peer.writes == [[1]] for peer in peers)
    answer.set()
    await asyncio.wait([emitting])
    await hub.start()
    hub.deliver(emission(2), None)
    await until(lambda: len(peers[0].writes) == 2)
    await hub.stop()
