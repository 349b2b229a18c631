"""What every adapter must do: deliver each emission once, in one order, to all workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from wsroom.adapters import Adapter, Emission, Offset, Past, Room

CHAT = Room("/ws", "chat")
PATH = Room("/ws", "")
SOCKET = Room("/ws", "ws:0123abcd.ef")


class Worker:
    """One worker: its side of the adapter, and the emissions that were delivered to it."""

    def __init__(self, adapter: Adapter, timeout: float) -> None:
        self.delivered: list[Emission] = []
        self.offsets: list[Offset | None] = []
        """The offsets of `delivered`."""
        self._adapter = adapter
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._problems: list[str] = []

    async def start(self) -> None:
        """Call `Adapter.start`; fail if it takes longer than the timeout, like all that follow."""
        async with asyncio.timeout(self._timeout):
            await self._adapter.start(self._deliver)

    async def stop(self) -> None:
        """Call `Adapter.stop`."""
        async with asyncio.timeout(self._timeout):
            await self._adapter.stop(self._deliver)

    async def subscribe(self, room: Room) -> Offset | None:
        """Call `Adapter.subscribe`."""
        async with asyncio.timeout(self._timeout):
            offset = await self._adapter.subscribe(room)
        assert _is_offset_or_none(offset)
        return offset

    def unsubscribe(self, room: Room) -> None:
        """Call `Adapter.unsubscribe`."""
        self._adapter.unsubscribe(room)

    async def publish(self, emission: Emission) -> None:
        """Call `Adapter.publish`."""
        async with asyncio.timeout(self._timeout):
            await self._adapter.publish(emission)

    async def publish_until_delivered(self, emission: Emission, worker: Worker) -> None:
        """Publish a volatile emission again until it is delivered to `worker`."""
        for _ in range(50):
            await self.publish(emission)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout / 50):
                    while emission not in worker.delivered:
                        await worker.next()
                return
        pytest.fail(f"{emission} was not delivered")

    async def next(self) -> None:
        """Wait until something is delivered."""
        self._arrived.clear()
        await self._arrived.wait()

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        """Call `Adapter.read`."""
        async with asyncio.timeout(self._timeout):
            return await self._adapter.read(room, since, last)

    async def wait_for(self, emission: Emission) -> list[bytes]:
        """Wait until `emission` is delivered; return the payloads of all that was delivered."""
        try:
            async with asyncio.timeout(self._timeout):
                while emission not in self.delivered:
                    await self.next()
        except TimeoutError:
            pytest.fail(f"{emission} was not delivered within {self._timeout:g} s")
        assert not self._problems
        return [emission.payload for emission in self.delivered]

    def _deliver(self, emission: Emission, offset: Offset | None) -> None:
        # An adapter may catch what is raised here, so problems are only recorded.
        if asyncio.get_running_loop() is not self._loop:
            self._problems.append("deliver was not called on the event loop of start")
        if not _is_offset_or_none(offset):
            self._problems.append(f"deliver was called with the offset {offset!r}")
        self.delivered.append(emission)
        self.offsets.append(offset)
        self._arrived.set()


def _is_offset_or_none(value: object) -> bool:
    return value is None or isinstance(value, Offset)


def emission(text: str, room: Room = CHAT) -> Emission:
    """Make an emission to `room` with `text` as its payload."""
    return Emission(room, text.encode())


@pytest.mark.asyncio
class AdapterContract:
    """The tests that every adapter passes, with two workers of one app.

    An adapter that keeps a history passes those of `HistoryContract` too.
    """

    timeout: float = 10.0
    """How many seconds each call and each delivery may take; raise it on a slow machine."""

    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        """Override it: two adapters that were not started, with empty rooms for each test.

        An adapter for a single process returns the same one twice.
        """
        raise NotImplementedError("override the fixture `adapters` to return two adapters")

    @pytest_asyncio.fixture
    async def workers(self, adapters: list[Adapter]) -> AsyncIterator[list[Worker]]:
        """Both workers, started before the test and stopped after it."""
        async with contextlib.AsyncExitStack() as stack:
            workers = [Worker(adapter, self.timeout) for adapter in adapters]
            for worker in workers:
                await worker.start()
                stack.push_async_callback(worker.stop)
            yield workers

    async def test_an_emission_reaches_every_worker_once(self, workers: list[Worker]) -> None:
        """`publish` must deliver to all workers, this one too, every field unchanged."""
        one, two = workers
        first = Emission(
            PATH, '{"event":"é"}'.encode(), ("a", "b"), "ws:1.2", "hash", ("muted", "é"), "later", 1
        )
        last = emission("last", PATH)
        for worker in workers:
            await worker.subscribe(PATH)
        await one.publish(first)
        await two.publish(last)
        for worker in workers:
            await worker.wait_for(last)
            assert worker.delivered == [first, last]

    async def test_all_workers_see_one_order(self, workers: list[Worker]) -> None:
        """A room must have one order for all workers, which keeps the order of each caller."""
        for worker in workers:
            await worker.subscribe(CHAT)

        async def publish(worker: Worker, name: str) -> None:
            for number in range(100):
                await worker.publish(emission(f"{name} {number}"))
                await asyncio.sleep(0)

        one, two = workers
        await asyncio.gather(publish(one, "a"), publish(two, "b"), publish(two, "c"))
        last = emission("last")
        await one.publish(last)
        order = await one.wait_for(last)
        assert order == await two.wait_for(last)
        assert len(order) == 301
        for name in "abc":
            own = [payload for payload in order if payload.startswith(name.encode())]
            assert own == [f"{name} {number}".encode() for number in range(100)]

    async def test_concurrent_calls_keep_their_order(self, workers: list[Worker]) -> None:
        """Calls of `publish` in one worker must be delivered in the order of the calls."""
        one, two = workers
        await two.subscribe(CHAT)
        emissions = [emission(str(number)) for number in range(20)]
        await asyncio.gather(*map(one.publish, emissions))
        await two.wait_for(emissions[-1])
        assert two.delivered == emissions

    async def test_a_subscribed_room_misses_nothing(self, workers: list[Worker]) -> None:
        """What is published after `subscribe` has returned must be delivered, in each room."""
        one, two = workers
        for number in range(50):
            room = Room("/ws", f"room {number}")
            await one.subscribe(room)
            published = emission("hello", room)
            await two.publish(published)
            await one.wait_for(published)

    async def test_subscribing_again_changes_nothing(self, workers: list[Worker]) -> None:
        """Calls of `subscribe` for one room, even concurrent ones, must lead to one copy."""
        one, two = workers
        offsets = await asyncio.gather(*(one.subscribe(CHAT) for _ in range(10)))
        assert len(set(offsets)) == 1
        last = emission("last")
        await two.publish(emission("hello"))
        await two.publish(last)
        assert await one.wait_for(last) == [b"hello", b"last"]

    async def test_unsubscribing_and_subscribing_again(self, workers: list[Worker]) -> None:
        """The last call must count, however fast the calls follow each other."""
        one, two = workers
        for _ in range(20):
            await one.subscribe(CHAT)
            one.unsubscribe(CHAT)
        one.unsubscribe(Room("/ws", "never subscribed"))
        await one.subscribe(CHAT)
        last = emission("last")
        await two.publish(last)
        await one.wait_for(last)
        assert one.delivered.count(last) == 1

    async def test_stop_ends_delivery(self, workers: list[Worker]) -> None:
        """After `stop`, a worker must get no more emissions; it may start again."""
        one, two = workers
        for worker in workers:
            await worker.subscribe(CHAT)
        await two.stop()
        missed = emission("while stopped")
        await one.publish(missed)
        await one.wait_for(missed)
        assert two.delivered == []
        await two.start()
        await two.subscribe(CHAT)
        last = emission("started again")
        await one.publish(last)
        assert await two.wait_for(last) == [b"started again"]

    async def test_a_message_to_one_socket_has_no_offset(self, workers: list[Worker]) -> None:
        """It must be delivered to workers that subscribed to its `sequence`, without an offset."""
        one, two = workers
        published = emission("psst", SOCKET)
        await one.subscribe(published.sequence)
        await two.publish(published)
        await one.wait_for(published)
        assert one.offsets == [None]

    async def test_emissions_that_are_no_messages_keep_the_order(
        self, workers: list[Worker]
    ) -> None:
        """Of any kind, such as those that moderate: they are carried like messages.

        In a room as well as on its path, with rooms to choose sockets by.
        """
        one = workers[0]
        for room in (CHAT, PATH):
            for worker in workers:
                await worker.subscribe(room)
            published = [emission(str(number), room) for number in range(20)]
            for number in range(0, 20, 2):
                published[number] = published[number]._replace(
                    kind="leave", rooms=("user:7",), except_rooms=("staff",)
                )
            for each in published:
                await one.publish(each)
            for worker in workers:
                await worker.wait_for(published[-1])
                assert [each for each in worker.delivered if each.room == room] == published

    async def test_volatile_emissions_keep_the_order(self, workers: list[Worker]) -> None:
        """They may be lost, but must be delivered at most once, and in order with the others."""
        one = workers[0]
        for worker in workers:
            await worker.subscribe(CHAT)
        published = [emission(f"{n}")._replace(volatile=n % 2 == 1) for n in range(101)]
        for each in published:
            await one.publish(each)
        for worker in workers:
            await worker.wait_for(published[-1])
            numbers = [int(each.payload) for each in worker.delivered]
            assert numbers == sorted(set(numbers))
            assert [each for each in worker.delivered if not each.volatile] == published[::2]
            assert set(worker.delivered) <= set(published)

    async def test_a_volatile_emission_is_delivered(self, workers: list[Worker]) -> None:
        """In a room where nothing else happens it must arrive, here if it is sent up to 50 times.

        To a room, to several rooms, and to a socket.
        """
        one, two = workers
        for each in (emission("hello"), emission("all", PATH), emission("psst", SOCKET)):
            await two.subscribe(each.sequence)
            await one.publish_until_delivered(each._replace(volatile=True), two)

    async def test_the_largest_payload_is_delivered(self, workers: list[Worker]) -> None:
        """A payload of 1 MiB, the most that an app can emit, must be delivered."""
        one, two = workers
        await one.subscribe(CHAT)
        largest = emission("é" * 2**19)
        await two.publish(largest)
        await one.wait_for(largest)

    async def test_a_room_has_offsets_or_never_has_any(self, workers: list[Worker]) -> None:
        """Without a history, `subscribe`, `deliver` and `read` must give no offset.

        With one they must all give one, and `HistoryContract` must be passed.
        """
        one, two = workers
        joined = await one.subscribe(CHAT)
        published = emission("hello")
        await two.publish(published)
        await one.wait_for(published)
        past = await one.read(CHAT, None)
        assert not past.complete and not past.emissions
        if not self._has_history():
            assert await one.read(CHAT, last=1) == Past(None, complete=False)
        found = [offset is not None for offset in (joined, one.offsets[0], past.offset)]
        assert found == [self._has_history()] * 3

    def _has_history(self) -> bool:
        return False
