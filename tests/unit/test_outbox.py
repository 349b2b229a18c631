"""A tick's frames for many sockets are delayed shortly, for frames that are about to come."""

from __future__ import annotations

import asyncio
import json
from itertools import chain

from tests.support.clock import HOUR, QUICK, until
from wsroom import AdapterError, Limits, MemoryAdapter
from wsroom.adapters import Emission
from wsroom.delivery.frames import Chunk, PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.delivery.outbox import DELAY_FROM, FEW, Outbox
from wsroom.delivery.writer import Writer, frames_of
from wsroom.timing import Timing
from wsroom.wire.emission import Room

CHAT = Room("/ws", "chat")


class Answering(MemoryAdapter):
    """Delivers at once, and answers some ticks later, like a broker; or never."""

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
    """A member that records the messages of each write."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ws:1.{number}", "/ws")
        self.writes: list[list[int]] = []

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        self.writes.append([json.loads(frame.payload)["n"] for frame in frames_of([chunk])])


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
    """Emit sequentially, like the handlers of one socket."""
    for number in numbers:
        await hub.publish(emission(number))


async def test_sequential_messages_are_written_together() -> None:
    """Each member of a large room is written to once for consecutive messages of one socket."""
    hub = Hub(Answering(), Limits())
    peers = await fill(hub, DELAY_FROM)
    hub.outbox.max_delay = HOUR
    await emit(hub, 1, 2, 3)
    await until(lambda: peers[0].writes)
    assert all(peer.writes == [[1, 2, 3]] for peer in peers)
    await hub.stop()


async def test_a_small_room_does_not_wait() -> None:
    """Writing to few sockets takes less time than an answer."""
    hub = Hub(Answering(), Limits())
    peers = await fill(hub, DELAY_FROM - 1)
    hub.outbox.max_delay = HOUR
    await emit(hub, 1, 2)
    assert all(peer.writes == [[1], [2]] for peer in peers)
    await hub.stop()


async def test_a_missing_answer_delays_frames_shortly() -> None:
    """After two milliseconds the frames are sent, and later ones are not delayed."""
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


async def test_delayed_frames_are_sent_before_a_stop() -> None:
    """Frames that were emitted before a stop are sent; the hub can be started again."""
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


async def test_frames_to_small_and_large_rooms_keep_their_order() -> None:
    """A member of both gets them in the order of the emits, however they are collected."""
    hub = Hub(MemoryAdapter(history=0), Limits())
    peers = await fill(hub, FEW + 1)
    small = Room("/ws", "small")
    for peer in peers[:FEW]:
        await hub.join(peer, "small")
    for number, room in enumerate([CHAT, small, CHAT, CHAT, small, small]):
        assert hub.publish_now(Emission(room, json.dumps({"n": number}).encode()))
    await until(lambda: peers[-1].writes)
    assert all(list(chain(*peer.writes)) == [0, 1, 2, 3, 4, 5] for peer in peers[:FEW])
    assert list(chain(*peers[-1].writes)) == [0, 2, 3]
    await hub.stop()


async def test_an_adapter_with_another_publish_is_not_passed_over() -> None:
    """A subclass of MemoryAdapter that waits in `publish` is waited for."""
    for adapter, at_once in ((MemoryAdapter(), True), (Answering(), False)):
        hub = Hub(adapter, Limits())
        assert not hub.publish_now(emission(1))  # not started
        await hub.start()
        assert hub.publish_now(emission(1)) is at_once
        await hub.stop()


class Behind(Writer):
    """A socket with unsent bytes."""

    def __init__(self, size: int, ended: bool = False) -> None:
        super().__init__(f"ws:1.{size}", "/ws")
        self.size, self.closed = size, ended

    @property
    def unsent(self) -> int:
        return self.size

    @property
    def ended(self) -> bool:
        return self.closed

    def give_up_soon(self) -> None:
        self.closed = True

    def check_unsent(self, now: float) -> bool:
        return True

    def collect(self, chunk: Chunk | PreparedFrame) -> None: ...


async def test_the_sockets_with_the_most_unsent_bytes_are_given_up() -> None:
    """As many as are over the limit of all together; those that are closing do not count."""
    outbox = Outbox(1000, QUICK, limit_of_all=1000)
    writers = {size: Behind(size) for size in (500, 100, 400, 300, 200)}
    for writer in (*writers.values(), Behind(10_000, ended=True)):
        outbox.watch(writer)
    await until(lambda: writers[500].closed)
    assert [size for size, writer in writers.items() if writer.closed] == [500]
    writers[200].size = 450
    await until(lambda: writers[200].closed)
    assert [size for size, writer in writers.items() if writer.closed] == [500, 200]
    outbox.stop()


async def test_what_many_are_sent_at_once_is_checked_at_once() -> None:
    """Long before the next look at sockets that are behind."""
    outbox = Outbox(10**9, Timing(unsent_check_interval=HOUR), limit_of_all=100_000)
    writers = [Behind(size) for size in range(10_000, 20_000, 1000)]
    members = frozenset(writers)
    for _ in range(3):
        outbox.send(members, PreparedFrame(b"x" * 1000))
    await until(lambda: any(writer.closed for writer in writers))
    assert [writer.size for writer in writers if writer.closed] == [17_000, 18_000, 19_000]
    outbox.stop()
