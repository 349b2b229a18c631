"""What every adapter must do, to be inherited by a test class of the adapter's own.

    class TestMine(AdapterContract):
        @pytest.fixture
        def adapters(self) -> list[Adapter]:
            return [MyAdapter(url), MyAdapter(url)]   # two workers of one app

All tests use two workers. An adapter that lives in one process gives the same one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.servers import SECOND
from wsroom import Adapter
from wsroom.adapters import Emission
from wsroom.rooms import Room

CHAT = Room("/ws", "chat")
PATH = Room("/ws", "")


class Worker:
    """One worker's side of an adapter, and what was delivered to it."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.delivered: list[Emission] = []
        self._news = asyncio.Event()

    def deliver(self, emission: Emission, offset: str | None) -> None:
        assert offset is None or isinstance(offset, str)
        self.delivered.append(emission)
        self._news.set()

    async def until(self, emission: Emission) -> list[bytes]:
        """Wait for `emission`; return the payloads delivered up to it."""
        async with asyncio.timeout(10 * SECOND):
            while emission not in self.delivered:
                self._news.clear()
                await self._news.wait()
        return [emission.payload for emission in self.delivered]


def said(text: str, room: Room = CHAT) -> Emission:
    return Emission(room, text.encode())


class AdapterContract:
    """The promises of `wsroom.Adapter`."""

    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        raise AssertionError("an adapter's tests give a fixture `adapters` with two of them")

    @pytest.fixture
    async def workers(self, adapters: list[Adapter]) -> AsyncIterator[list[Worker]]:
        async with contextlib.AsyncExitStack() as stack:
            workers = [Worker(adapter) for adapter in adapters]
            for worker in workers:
                await worker.adapter.start(worker.deliver)
                stack.push_async_callback(worker.adapter.stop, worker.deliver)
            yield workers

    async def test_an_emission_reaches_every_worker_once(self, workers: list[Worker]) -> None:
        """The publisher's own worker too, and in all its parts."""
        one, two = workers
        emission = Emission(
            PATH, '{"event":"é"}'.encode(), ("a", "b"), "ws:1.2", "hash", ("muted",), "emit", 1
        )
        for worker in workers:
            await worker.adapter.subscribe(PATH)
        await one.adapter.publish(emission)
        last = said("last", PATH)
        await two.adapter.publish(last)
        for worker in workers:
            await worker.until(last)
            assert worker.delivered == [emission, last]

    async def test_all_workers_see_one_order(self, workers: list[Worker]) -> None:
        """Whoever publishes, and each publisher's own order is kept in it."""
        for worker in workers:
            await worker.adapter.subscribe(CHAT)

        async def publish(worker: Worker, name: str) -> None:
            for number in range(100):
                await worker.adapter.publish(said(f"{name} {number}"))
                await asyncio.sleep(0)

        one, two = workers
        await asyncio.gather(publish(one, "a"), publish(two, "b"), publish(two, "c"))
        last = said("last")
        await one.adapter.publish(last)
        order = await one.until(last)
        assert order == await two.until(last)
        assert len(order) == 301
        for name in "abc":
            own = [payload for payload in order if payload.startswith(name.encode())]
            assert own == [f"{name} {number}".encode() for number in range(100)]

    async def test_nothing_passes_by_after_a_subscribe(self, workers: list[Worker]) -> None:
        """What is published once `subscribe` has returned arrives, in any number of rooms."""
        one, two = workers
        for number in range(50):
            room = Room("/ws", f"room {number}")
            await one.adapter.subscribe(room)
            emission = said("hello", room)
            await two.adapter.publish(emission)
            await one.until(emission)

    async def test_subscribing_again_changes_nothing(self, workers: list[Worker]) -> None:
        """Joins of many members, at once too, still bring one copy."""
        one, two = workers
        offsets = await asyncio.gather(*(one.adapter.subscribe(CHAT) for _ in range(10)))
        assert len(set(offsets)) == 1
        await two.adapter.publish(said("hello"))
        last = said("last")
        await two.adapter.publish(last)
        assert await one.until(last) == [b"hello", b"last"]

    async def test_leaving_and_joining_again(self, workers: list[Worker]) -> None:
        """The last wish counts, however fast it changes."""
        one, two = workers
        for _ in range(20):
            await one.adapter.subscribe(CHAT)
            one.adapter.unsubscribe(CHAT)
        one.adapter.unsubscribe(Room("/ws", "never joined"))
        await one.adapter.subscribe(CHAT)
        last = said("last")
        await two.adapter.publish(last)
        await one.until(last)
        assert one.delivered.count(last) == 1

    async def test_stopping_ends_the_delivery(self, workers: list[Worker]) -> None:
        """A worker that stopped hears nothing; the other goes on; it may start again."""
        one, two = workers
        for worker in workers:
            await worker.adapter.subscribe(CHAT)
        await two.adapter.stop(two.deliver)
        emission = said("while away")
        await one.adapter.publish(emission)
        await one.until(emission)
        assert two.delivered == []
        await two.adapter.start(two.deliver)
        await two.adapter.subscribe(CHAT)
        back = said("back")
        await one.adapter.publish(back)
        assert await two.until(back) == [b"back"]
