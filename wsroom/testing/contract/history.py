"""What an adapter with a history must do besides: give offsets, and read from any of them."""

from __future__ import annotations

from wsroom.adapters import Emission, Offset, Room
from wsroom.testing.contract.delivery import CHAT, PATH, AdapterContract, Worker, emission


class HistoryContract(AdapterContract):
    """The tests of `AdapterContract`, and those for adapters that keep a history.

    The adapters keep at least 100 emissions of each room.
    """

    def _has_history(self) -> bool:
        return True

    async def test_reading_continues_from_every_offset(self, workers: list[Worker]) -> None:
        """`read` must return all emissions after an offset, on each worker with equal offsets."""
        one, two = workers
        for worker in workers:
            joined = await worker.subscribe(CHAT)
        assert joined is not None
        published = [emission(str(number)) for number in range(10)]
        for each in published:
            await one.publish(each)
        for worker in workers:
            await worker.wait_for(published[-1])
        offsets = [joined, *one.offsets]
        assert two.offsets == one.offsets and len(set(offsets)) == 11
        entries = list(zip(published, one.offsets, strict=True))
        for worker in workers:
            for number, since in enumerate(offsets):
                past = await worker.read(CHAT, since)
                assert past == (offsets[-1], True, tuple(entries[number:]))

    async def test_later_offsets_have_higher_numbers(self, workers: list[Worker]) -> None:
        """Within an epoch, `seq` must grow; as a string, an offset must fit into a frame."""
        one, two = workers
        joined = await one.subscribe(CHAT)
        for number in range(3):
            await two.publish(emission(str(number)))
        await one.wait_for(emission("2"))
        offsets = [offset for offset in (joined, *one.offsets) if offset is not None]
        assert len({offset.epoch for offset in offsets}) == 1
        numbers = [offset.seq for offset in offsets]
        assert numbers == sorted(set(numbers)) and len(numbers) == 4
        assert [Offset.parse(str(offset)) for offset in offsets] == offsets
        assert not any(character in offsets[0].epoch for character in '"\\')

    async def test_subscribe_returns_the_current_offset(self, workers: list[Worker]) -> None:
        """`read` since that offset must return what was published after `subscribe`."""
        one, two = workers
        await one.subscribe(CHAT)
        before = emission("before")
        await one.publish(before)
        await one.wait_for(before)
        since = await two.subscribe(CHAT)
        assert since == one.offsets[0]
        assert await two.read(CHAT, since) == (since, True, ())
        after = emission("after")
        await one.publish(after)
        await two.wait_for(after)
        past = await two.read(CHAT, since)
        assert [each for each, _ in past.emissions] == [after]

    async def test_a_read_returns_after_the_delivery(self, workers: list[Worker]) -> None:
        """Everything up to `Past.offset` must be delivered here before `read` returns."""
        one, two = workers
        since: Offset | None = None
        for worker in workers:
            since = await worker.subscribe(CHAT)
        for number in range(50):
            await two.publish(emission(str(number)))
            past = await one.read(CHAT, since)
            assert past.complete
            assert past.offset in (since, *one.offsets)

    async def test_history_continues_while_a_room_is_empty(self, workers: list[Worker]) -> None:
        """What is published while no worker has subscribed must be kept."""
        one, two = workers
        since = await one.subscribe(CHAT)
        one.unsubscribe(CHAT)
        missed = [emission("one"), emission("two")]
        for each in missed:
            await two.publish(each)
        await two.subscribe(CHAT)
        past = await two.read(CHAT, since)
        assert past.complete and [each for each, _ in past.emissions] == missed

    async def test_an_incomplete_read_returns_no_emissions(self, workers: list[Worker]) -> None:
        """If emissions are no longer kept, or over 300, `read` returns only the room's offset."""
        one, two = workers
        first = await one.subscribe(CHAT)
        for number in range(301):
            await two.publish(emission(str(number)))
        await one.wait_for(emission("300"))
        past = await one.read(CHAT, first)
        assert past == (one.offsets[-1], False, ())
        past = await one.read(CHAT, one.offsets[-100])
        assert past.complete
        assert past.emissions[0][0] == emission("202")

    async def test_a_read_returns_at_most_a_mebibyte(self, workers: list[Worker]) -> None:
        """If the emissions since the offset take more than 1 MiB, `read` is not complete."""
        one, two = workers
        first = await one.subscribe(CHAT)
        for letter in "abc":
            await two.publish(emission(letter * 400_000))
        await one.wait_for(emission("c" * 400_000))
        assert not (await one.read(CHAT, first)).complete
        past = await one.read(CHAT, one.offsets[0])
        assert past.complete and len(past.emissions) == 2

    async def test_an_unknown_offset_is_never_complete(self, workers: list[Worker]) -> None:
        """Clients send offsets, so an invalid one must be answered like one that is too old."""
        one, two = workers
        own = await one.subscribe(CHAT)
        other = await one.subscribe(PATH)
        assert own is not None and other is not None
        await two.publish(emission("x"))
        await one.wait_for(emission("x"))
        current = one.offsets[-1]
        assert current is not None
        unknown = [
            None,
            Offset(other.epoch, other.seq + 1),
            Offset(own.epoch, current.seq + 1),
            Offset(own.epoch, 10**30),
            Offset(own.epoch + "x", own.seq),
            Offset("", 0),
            Offset("%s:*\0é", 1),
        ]
        for since in unknown:
            assert await one.read(CHAT, since) == (current, False, ()), since
        assert (await one.read(CHAT, own)).complete

    async def test_the_last_emissions_can_be_read(self, workers: list[Worker]) -> None:
        """With `last`, `read` must return the newest that are kept, on each worker.

        Whatever `since` is; fewer if there are fewer, and none of a room in which nothing was
        emitted.
        """
        one = workers[0]
        for worker in workers:
            joined = await worker.subscribe(CHAT)
        for worker in workers:
            assert await worker.read(CHAT, last=5) == (joined, True, ())
        published = [emission(str(number)) for number in range(10)]
        for each in published:
            await one.publish(each)
        for worker in workers:
            await worker.wait_for(published[-1])
        entries = list(zip(published, one.offsets, strict=True))
        for worker in workers:
            for last in (1, 3, 10, 11, 10**6):
                for since in (None, joined, one.offsets[-1], Offset("", 0)):
                    past = await worker.read(CHAT, since, last)
                    assert past == (one.offsets[-1], True, tuple(entries[-last:]))

    async def test_reading_the_last_emissions_is_bounded(self, workers: list[Worker]) -> None:
        """`read` must return the newest of them, at most 300 and 1 MiB."""
        one, two = workers
        await one.subscribe(CHAT)
        for number in range(301):
            await two.publish(emission(str(number)))
        await one.wait_for(emission("300"))
        past = await one.read(CHAT, last=1000)
        texts = [int(each.payload) for each, _ in past.emissions]
        assert past.complete and texts == list(range(301 - len(texts), 301))
        assert 100 <= len(texts) <= 300
        for letter in "abc":
            await two.publish(emission(letter * 400_000))
        await one.wait_for(emission("c" * 400_000))
        past = await one.read(CHAT, last=3)
        assert [each.payload[:1] for each, _ in past.emissions] == [b"b", b"c"]

    async def test_the_last_emissions_have_been_delivered(self, workers: list[Worker]) -> None:
        """Like every `read`: all up to `Past.offset` is delivered before it returns."""
        one, two = workers
        for worker in workers:
            await worker.subscribe(CHAT)
        for number in range(50):
            await two.publish(emission(str(number)))
            past = await one.read(CHAT, last=1)
            assert past.complete and past.offset == past.emissions[-1][1]
            assert past.offset in one.offsets

    async def test_a_read_returns_whole_emissions(self, workers: list[Worker]) -> None:
        """`read` must return every field as it was published, also whom the emission excludes."""
        one, two = workers
        since = await one.subscribe(PATH)
        published = Emission(
            PATH, '{"event":"é"}'.encode(), ("a", "b"), "ws:1.2", "hash", ("muted", "é"), "later", 1
        )
        await two.publish(published)
        await one.wait_for(published)
        past = await one.read(PATH, since)
        assert past.emissions == ((published, one.offsets[-1]),)

    async def test_each_room_has_its_own_history(self, workers: list[Worker]) -> None:
        """Rooms of a path, the path itself, and equal names on two paths must be kept apart."""
        one, two = workers
        rooms = [CHAT, PATH, Room("/ws", "other"), Room("/other", "chat")]
        since = {room: await one.subscribe(room) for room in rooms}
        for number in range(3):
            for room in rooms:
                await two.publish(emission(f"{room} {number}", room))
        await one.wait_for(emission(f"{rooms[-1]} 2", rooms[-1]))
        for room in rooms:
            past = await one.read(room, since[room])
            texts = [each.payload.decode() for each, _ in past.emissions]
            assert past.complete and texts == [f"{room} {number}" for number in range(3)]
