"""What every adapter must do, to be inherited by a test class of the adapter's own.

    class TestMine(AdapterContract):
        @pytest.fixture
        def adapters(self) -> list[Adapter]:
            return [MyAdapter(url), MyAdapter(url)]   # two workers of one app

All tests use two workers. An adapter that lives in one process gives the same one twice. They keep
100 messages of each room, or more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import SECOND
from wsroom import Adapter
from wsroom.adapters import Emission, Offset
from wsroom.wire.emission import Room

CHAT = Room("/ws", "chat")
PATH = Room("/ws", "")


class Worker:
    """One worker's side of an adapter, and what was delivered to it."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.delivered: list[Emission] = []
        self.offsets: list[Any] = []
        self._news = asyncio.Event()

    def deliver(self, emission: Emission, offset: Offset | None) -> None:
        assert offset is None or isinstance(offset, Offset)
        self.delivered.append(emission)
        self.offsets.append(offset)
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

    # -- history ---------------------------------------------------------------------------------

    async def test_every_offset_is_a_place_to_go_on_from(self, workers: list[Worker]) -> None:
        """`read` tells exactly what came after each, on any worker, with the same offsets."""
        one, two = workers
        for worker in workers:
            offset = await worker.adapter.subscribe(CHAT)
        assert offset is not None
        emissions = [said(str(number)) for number in range(10)]
        for emission in emissions:
            await one.adapter.publish(emission)
        for worker in workers:
            await worker.until(emissions[-1])
        offsets = [offset, *one.offsets]
        assert two.offsets == one.offsets and len(set(offsets)) == 11
        told = list(zip(emissions, one.offsets, strict=True))
        for worker in workers:
            for number, since in enumerate(offsets):
                past = await worker.adapter.read(CHAT, since)
                assert past == (offsets[-1], True, tuple(told[number:]))

    async def test_a_subscribe_tells_where_the_room_stands(self, workers: list[Worker]) -> None:
        """What is read since then is what is published after it returned."""
        one, two = workers
        await one.adapter.subscribe(CHAT)
        before = said("before")
        await one.adapter.publish(before)
        await one.until(before)
        since = await two.adapter.subscribe(CHAT)
        assert since == one.offsets[0]
        assert await two.adapter.read(CHAT, since) == (since, True, ())
        after = said("after")
        await one.adapter.publish(after)
        await two.until(after)
        past = await two.adapter.read(CHAT, since)
        assert [emission for emission, _ in past.emissions] == [after]

    async def test_a_read_is_behind_nothing_that_was_delivered(self, workers: list[Worker]) -> None:
        """When it has returned, its worker has been delivered everything up to its offset."""
        one, two = workers
        since: Offset | None = None
        for worker in workers:
            since = await worker.adapter.subscribe(CHAT)
        for number in range(50):
            await two.adapter.publish(said(str(number)))
            past = await one.adapter.read(CHAT, since)
            assert past.complete
            assert past.offset in (since, *one.offsets)

    async def test_a_room_that_is_empty_for_a_while_goes_on(self, workers: list[Worker]) -> None:
        """What is published while nobody is there is told to whoever comes back."""
        one, two = workers
        since = await one.adapter.subscribe(CHAT)
        one.adapter.unsubscribe(CHAT)
        missed = [said("one"), said("two")]
        for emission in missed:
            await two.adapter.publish(emission)
        await two.adapter.subscribe(CHAT)
        past = await two.adapter.read(CHAT, since)
        assert past.complete and [emission for emission, _ in past.emissions] == missed

    async def test_what_history_does_not_reach_is_not_told(self, workers: list[Worker]) -> None:
        """More than it keeps or than a read may bring: nothing, and where the room stands."""
        one, two = workers
        first = await one.adapter.subscribe(CHAT)
        for number in range(301):
            await two.adapter.publish(said(str(number)))
        await one.until(said("300"))
        past = await one.adapter.read(CHAT, first)
        assert past == (one.offsets[-1], False, ())
        since = one.offsets[-100]
        past = await one.adapter.read(CHAT, since)
        assert past.complete
        assert past.emissions[0][0] == said("202")

    async def test_a_mebibyte_is_the_most(self, workers: list[Worker]) -> None:
        """More of one room is not told, however few messages it is."""
        one, two = workers
        first = await one.adapter.subscribe(CHAT)
        for letter in "abc":
            await two.adapter.publish(said(letter * 400_000))
        await one.until(said("c" * 400_000))
        assert not (await one.adapter.read(CHAT, first)).complete
        past = await one.adapter.read(CHAT, one.offsets[0])
        assert past.complete and len(past.emissions) == 2

    async def test_a_foreign_offset_is_never_complete(self, workers: list[Worker]) -> None:
        """Offsets come from clients: an unknown one is answered like one that is too old."""
        one, two = workers
        own = await one.adapter.subscribe(CHAT)
        other = await one.adapter.subscribe(PATH)
        assert own is not None and other is not None
        await two.adapter.publish(said("x"))
        await one.until(said("x"))
        here = one.offsets[-1]
        foreign = [
            None,
            Offset(other.epoch, other.seq + 1),
            Offset(own.epoch, own.seq + 2),
            Offset(own.epoch, 10**30),
            Offset(own.epoch + "x", own.seq),
            Offset("", 0),
            Offset("%s:*\0é", 1),
        ]
        for since in foreign:
            assert await one.adapter.read(CHAT, since) == (here, False, ()), since
        assert (await one.adapter.read(CHAT, own)).complete

    async def test_history_keeps_whom_to_leave_out(self, workers: list[Worker]) -> None:
        """An emission is read in all its parts, as it was delivered."""
        one, two = workers
        since = await one.adapter.subscribe(PATH)
        emission = Emission(
            PATH, '{"event":"é"}'.encode(), ("a", "b"), "ws:1.2", "hash", ("muted", "é"), "later", 1
        )
        await two.adapter.publish(emission)
        await one.until(emission)
        past = await one.adapter.read(PATH, since)
        assert past.emissions == ((emission, one.offsets[-1]),)

    async def test_each_room_has_a_history_of_its_own(self, workers: list[Worker]) -> None:
        """Of several rooms, of the path, and of a room of the same name on another path."""
        one, two = workers
        rooms = [CHAT, PATH, Room("/ws", "other"), Room("/other", "chat")]
        since = {room: await one.adapter.subscribe(room) for room in rooms}
        for number in range(3):
            for room in rooms:
                await two.adapter.publish(said(f"{room} {number}", room))
        await one.until(said(f"{rooms[-1]} 2", rooms[-1]))
        for room in rooms:
            past = await one.adapter.read(room, since[room])
            texts = [emission.payload.decode() for emission, _ in past.emissions]
            assert past.complete and texts == [f"{room} {number}" for number in range(3)]

    async def test_what_is_for_one_socket_has_no_offset(self, workers: list[Worker]) -> None:
        """It is delivered like the rest, on the worker whose socket it is."""
        one, two = workers
        emission = said("psst", Room("/ws", "ws:0123abcd.ef"))
        await one.adapter.subscribe(emission.sequence)
        await two.adapter.publish(emission)
        await one.until(emission)
        assert one.offsets == [None]
