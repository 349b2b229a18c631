"""Rooms in which nothing was emitted: they have a position, but no key in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.crc import key_slot

from tests.support import brokers
from tests.support.adapters import CHAT, Worker, chat_app, emission, started
from tests.support.brokers import Broker, Cluster, eventually
from tests.support.clock import QUICK, SECOND, until
from wsroom import Adapter, AsyncPublisher, Limits, MemoryAdapter, RedisAdapter
from wsroom.adapters import Emission, Offset, Past, Room
from wsroom.adapters.redis.codec import RedisNames, begins_after
from wsroom.adapters.redis.scripts import MOST_USED, HistorySettings, scripts_for, sequence_keys
from wsroom.testing import TestClient


def keys(prefix: str, room: Room = CHAT) -> tuple[str, str, str]:
    return sequence_keys(RedisNames(prefix).channel(room), sharded=False)


async def lose(broker: Broker, *names: str) -> None:
    await broker.cli("DEL", *names)


async def use_rooms(broker: Broker, prefix: str, count: int) -> None:
    """Continue as if something had been emitted in so many other rooms."""
    await broker.cli("ZINCRBY", keys(prefix)[2], count, "")


async def publish_unheard(broker: Broker, prefix: str, *texts: str) -> None:
    """Publish to CHAT, but so that no worker hears it: on a sharded channel."""
    run_id = (await broker.info("server"))["run_id"]
    script = scripts_for(run_id, HistorySettings(), sharded=True)["publish"]
    for number, text in enumerate(texts, 1):
        words = ("ab", number, "", f"1 ab {number}", "", text)
        await broker.cli("EVAL", script.text, script.keys, *keys(prefix), *words)


def texts(past: Past) -> list[str]:
    return [each.payload.decode() for each, _ in past.emissions]


# -- keys ------------------------------------------------------------------------------------


@pytest.fixture(params=["valkey", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(request.param)
    return found


async def test_no_key_is_left_by_joins_and_leaves(broker: Broker, prefix: str) -> None:
    """1,000 joins of one client, of rooms with invented names."""
    limits = Limits(frames=100_000, burst=100_000, joins=100_000)
    app = chat_app(RedisAdapter(broker.url, prefix=prefix), limits)
    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect("/ws")
        for number in range(1000):
            await a.join(f"room {number}")
            await a.leave(f"room {number}")
        assert a.offsets[""]
        *_, used = keys(prefix)
        assert set(await broker.cli("KEYS", f"{prefix}:*")) == {f"{prefix}:settings", used}
        assert await broker.cli("ZCARD", used) == 2, "it has no room"
        assert 0 < await broker.cli("TTL", used) <= 4200


async def test_a_slot_of_a_cluster_has_one_key(cluster: Cluster, prefix: str) -> None:
    """So their number is bounded; an emission gives its room the same keys as elsewhere."""
    worker = Worker(cluster.url, prefix)
    rooms = [Room("/ws", f"room {number}") for number in range(300)]
    names = RedisNames(prefix)
    async with started(worker):
        await asyncio.gather(*(worker.adapter.subscribe(room) for room in rooms))
        used = {sequence_keys(names.channel(room), sharded=True)[2] for room in rooms}
        assert await all_keys(cluster, prefix) == {*used, names.settings}
        await worker.adapter.publish(emission("hi"))
        of_chat = sequence_keys(names.channel(CHAT), sharded=True)
        assert await all_keys(cluster, prefix) == {*used, *of_chat, names.settings}


async def all_keys(cluster: Cluster, prefix: str) -> set[str]:
    found: set[str] = set()
    for broker in cluster.brokers:
        found.update(await broker.cli("KEYS", f"{prefix}:*"))
    return found


def test_the_keys_of_a_sequence_have_one_slot() -> None:
    """Whatever its name is; no two slots share a key."""
    names = RedisNames("a:b")
    used: dict[int, set[str]] = {}
    for number in range(20_000):
        name = f"}}{{ {number}" if number % 2 else str(number)
        three = sequence_keys(names.channel(Room("/ws", name)), sharded=True)
        [slot] = {key_slot(key.encode()) for key in three}
        used.setdefault(slot, set()).add(three[2])
    assert all(len(each) == 1 for each in used.values())
    assert len(set.union(*used.values())) == len(used) > 5_000
    assert sequence_keys(names.channel(CHAT), sharded=False)[2] == "a:b:used"


async def test_rooms_of_two_prefixes_have_nothing_in_common(valkey: Broker, prefix: str) -> None:
    one, two = Worker(valkey.url, prefix), Worker(valkey.url, f"{prefix}2")
    async with started(one, two):
        offsets = [await each.adapter.subscribe(CHAT) for each in (one, two)]
        await lose(valkey, keys(prefix)[2])
        await two.adapter.publish(emission("hi"))
        await until(lambda: two.delivered)
        assert texts(await two.adapter.read(CHAT, offsets[1])) == ["hi"]
        assert not (await two.adapter.read(CHAT, offsets[0])).complete


# -- positions -------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
async def test_a_client_resumes_in_a_room_without_messages(
    valkey: Broker, prefix: str, shared: bool
) -> None:
    """It has missed nothing, or what was emitted meanwhile; on both adapters."""
    adapter: Adapter = RedisAdapter(valkey.url, prefix=prefix) if shared else MemoryAdapter()
    app = chat_app(adapter)  # type: ignore[arg-type]
    async with TestClient(app, timeout=5 * SECOND) as client:
        gone = await client.connect("/ws")
        since = (await gone.join("chat"))["offset"]
        await gone.close()
        back = await client.connect("/ws", subprotocols=["wsroom.1.resume"])
        answer = await back.resume(gone)
        assert {name: room["recovered"] for name, room in answer.items()} == {
            "": True,
            "chat": True,
        }
        await back.leave("chat")
        answer = await back.join("chat", since=since)
        assert (answer["recovered"], answer["replayed"]) == (True, 0)
        await back.leave("chat")
        assert (await back.join("chat", last=5))["replayed"] == 0
        await back.close()
        await app.to("chat").emit("said", "hi")
        late = await client.connect("/ws")
        answer = await late.join("chat", since=since)
        assert (answer["recovered"], answer["replayed"]) == (True, 1)
        assert await late.expect("said") == "hi"


async def test_a_publisher_emits_first(valkey: Broker, prefix: str) -> None:
    """To a room with members, and to a path; both continue from where they were."""
    worker = Worker(valkey.url, prefix)
    rooms = [CHAT, Room("/ws", "")]
    async with started(worker), AsyncPublisher(valkey.url, prefix=prefix) as publisher:
        since = [await worker.adapter.subscribe(room) for room in rooms]
        assert await publisher.to("chat").emit("noti") == 1
        assert await publisher.to().emit("noti") == 1
        for room, offset in zip(rooms, since, strict=True):
            assert len((await worker.adapter.read(room, offset)).emissions) == 1
    assert len(worker.delivered) == 2 and "resync" not in worker.delivered


async def test_joins_beside_the_first_emission(valkey: Broker, prefix: str) -> None:
    """Two workers join while a third one emits: each gets what comes after its offset."""
    one, two, three = (Worker(valkey.url, prefix) for _ in range(3))
    before = 0
    async with started(one, two, three):
        for number in range(200):
            room = Room("/ws", str(number))
            emits = [Emission(room, f"{number} {text}".encode()) for text in ("first", "then")]
            joins = [worker.adapter.subscribe(room) for worker in (one, two)]
            others = [Room("/ws", f"{number} {n}") for n in range(number % 3)]
            offsets = await asyncio.gather(*joins, emit_after(three, others, emits[0]))
            await three.adapter.publish(emits[1])
            for worker, offset in zip((one, two), offsets[:2], strict=True):
                assert offset is not None
                await until(lambda: emits[1].payload.decode() in worker.delivered)  # noqa: B023
                past = await worker.adapter.read(room, offset)
                assert past.complete and past.emissions
                expected = [each.payload.decode() for each in emits[offset.seq :]]
                assert texts(past) == expected
                assert worker.delivered[-len(expected) :] == expected
                before += offset.seq == 0
    assert before, "some joined before the emission"
    assert "resync" not in one.delivered + two.delivered


async def emit_after(worker: Worker, rooms: list[Room], emission: Emission) -> None:
    """Join these rooms, which takes some round trips each, and then emit."""
    for room in rooms:
        await worker.adapter.subscribe(room)
    await worker.adapter.publish(emission)


async def test_without_a_history_nothing_is_lost_either(valkey: Broker, prefix: str) -> None:
    """Live emissions need no history; a gap is reported."""
    one, two = (Worker(valkey.url, prefix, history=0) for _ in range(2))
    async with started(one, two):
        await one.adapter.subscribe(CHAT)
        await use_rooms(valkey, prefix, MOST_USED // 10)
        await two.adapter.subscribe(CHAT)
        await two.adapter.publish(emission("first"))
        await until(lambda: two.delivered)
        await publish_unheard(valkey, prefix, "unheard")
        await two.adapter.publish(emission("third"))
        for worker in (one, two):
            await until(lambda: "resync" in worker.delivered)  # noqa: B023
        await two.adapter.publish(emission("last"))
        for worker in (one, two):
            await until(lambda: "last" in worker.delivered)  # noqa: B023
            assert worker.delivered == ["first", "resync", "last"]


async def test_a_gap_at_the_beginning_is_filled(valkey: Broker, prefix: str) -> None:
    """A worker that hears the third emission of a room first reads the two before it."""
    one, two = Worker(valkey.url, prefix), Worker(valkey.url, prefix)
    async with started(one, two):
        await one.adapter.subscribe(CHAT)
        await use_rooms(valkey, prefix, MOST_USED // 2)
        await two.adapter.subscribe(CHAT)
        await publish_unheard(valkey, prefix, "first", "second")
        await two.adapter.publish(emission("third"))
        for worker in (one, two):
            await until(lambda: "third" in worker.delivered)  # noqa: B023
            assert worker.delivered == ["first", "second", "third"]


async def test_a_gap_at_the_beginning_that_is_not_kept_is_reported(
    valkey: Broker, prefix: str
) -> None:
    worker = Worker(valkey.url, prefix, history=1)
    async with started(worker):
        await worker.adapter.subscribe(CHAT)
        await publish_unheard(valkey, prefix, "first", "second")
        await worker.adapter.publish(emission("third"))
        await until(lambda: worker.delivered)
        await worker.adapter.publish(emission("last"))
        await until(lambda: "last" in worker.delivered)
    assert worker.delivered == ["resync", "last"]


# -- losses ----------------------------------------------------------------------------------


async def flush_all(broker: Broker, prefix: str) -> None:
    await broker.cli("FLUSHALL")


async def restart(broker: Broker, prefix: str) -> None:
    await broker.kill()
    await broker.start()


async def evict_the_state(broker: Broker, prefix: str) -> None:
    state, *_ = keys(prefix)
    await lose(broker, state)


async def let_all_of_it_expire(broker: Broker, prefix: str) -> None:
    state, history, _ = keys(prefix)
    for key in (state, history):
        await broker.cli("PEXPIRE", key, 1)

    async def gone() -> bool:
        return not await broker.cli("EXISTS", state, history)

    await eventually(gone)


async def evict_all(broker: Broker, prefix: str) -> None:
    await lose(broker, *keys(prefix))


Lose = Callable[[Broker, str], Awaitable[None]]
LOSSES: list[Lose] = [flush_all, restart, evict_the_state, let_all_of_it_expire, evict_all]


@pytest.mark.parametrize("appendonly", ["no", "yes"])
@pytest.mark.parametrize("cause", LOSSES, ids=lambda cause: cause.__name__)
async def test_the_first_emission_is_not_lost_silently(
    prefix: str, cause: Lose, appendonly: str
) -> None:
    """Nobody heard it, and then it was lost: live members, and those who resume, are notified.

    Those who joined after the loss have lost nothing.
    """
    async with brokers.valkey(appendonly=appendonly) as broker:
        one, two, three = (Worker(broker.url, prefix, _timing=QUICK) for _ in range(3))
        async with started(one, two, three):
            since = await one.adapter.subscribe(CHAT)
            await publish_unheard(broker, prefix, "lost")
            await cause(broker, prefix)
            await two.adapter.subscribe(CHAT)
            assert not (await two.adapter.read(CHAT, since)).complete
            after = await three.adapter.subscribe(CHAT)
            assert (await two.adapter.read(CHAT, last=5))[:3] == (after, True, ())
            assert (await two.adapter.read(CHAT, after))[1:3] == (True, ())
            await two.adapter.publish(emission("after"))
            await until(lambda: "after" in one.delivered)
            assert one.delivered == ["resync", "after"]
            assert not (await two.adapter.read(CHAT, since)).complete
            for past in (two.adapter.read(CHAT, after), two.adapter.read(CHAT, last=5)):
                assert texts(await past) == ["after"]
            await until(lambda: "after" in three.delivered)
            assert three.delivered == ["after"]


async def test_trusted_persistence_keeps_positions(prefix: str) -> None:
    """Those of rooms without messages too, through a restart."""
    async with brokers.valkey(appendonly="yes") as broker:
        options: dict[str, Any] = {"trust_persistence": True, "_timing": QUICK}
        one, two = (Worker(broker.url, prefix, **options) for _ in range(2))
        quiet = Room("/ws", "quiet")
        async with started(one, two):
            since = [await one.adapter.subscribe(room) for room in (CHAT, quiet)]
            await one.adapter.publish(emission("kept"))
            await restart(broker, prefix)
            for room in (CHAT, quiet):
                await two.adapter.subscribe(room)
            assert texts(await two.adapter.read(CHAT, since[0])) == ["kept"]
            assert (await two.adapter.read(quiet, since[1])).complete
            await two.adapter.publish(Emission(quiet, b"after"))
            await until(lambda: "after" in one.delivered)
            assert one.delivered == ["kept", "after"]


async def test_the_set_is_lost_and_the_state_is_not(valkey: Broker, prefix: str) -> None:
    """What is there proves that nothing was lost; rooms without a state cannot prove it."""
    one, two = Worker(valkey.url, prefix), Worker(valkey.url, prefix)
    quiet = Room("/ws", "quiet")
    async with started(one, two):
        since = {room: await one.adapter.subscribe(room) for room in (CHAT, quiet)}
        await publish_unheard(valkey, prefix, "first")
        await lose(valkey, keys(prefix)[2])
        for room in since:
            await two.adapter.subscribe(room)
        assert texts(await two.adapter.read(CHAT, since[CHAT])) == ["first"]
        assert not (await two.adapter.read(quiet, since[quiet])).complete
        await two.adapter.publish(emission("second"))
        await until(lambda: "second" in one.delivered)
        assert one.delivered == ["first", "second"]
        await two.adapter.publish(Emission(quiet, b"third"))
        await until(lambda: "third" in one.delivered)
        assert one.delivered[2:] == ["resync", "third"]


async def test_a_state_that_expires_while_members_are_connected(
    valkey: Broker, prefix: str
) -> None:
    """Live delivery goes on, with a `resync`; who joined in between has lost nothing."""
    one, two = Worker(valkey.url, prefix), Worker(valkey.url, prefix)
    async with started(one, two):
        first = await one.adapter.subscribe(CHAT)
        for number in range(3):
            await one.adapter.publish(emission(f"before {number}"))
            await until(lambda: f"before {number}" in one.delivered)  # noqa: B023
            await let_all_of_it_expire(valkey, prefix)
        between = await two.adapter.subscribe(CHAT)
        await one.adapter.publish(emission("after"))
        await until(lambda: two.delivered)
        await until(lambda: "after" in one.delivered)
        assert texts(await two.adapter.read(CHAT, between)) == ["after"]
        for since in (None, first):
            assert not (await two.adapter.read(CHAT, since)).complete
    assert two.delivered == ["after"]
    parts = ["before 0", "resync", "before 1", "resync", "before 2", "resync", "after"]
    assert one.delivered == parts


# -- many other rooms ------------------------------------------------------------------------


async def test_positions_outlive_many_other_rooms(valkey: Broker, prefix: str) -> None:
    """Up to a bound; after it a position is refused, and live members are notified."""
    one, two, three = (Worker(valkey.url, prefix) for _ in range(3))
    quiet = Room("/ws", "quiet")
    async with started(one, two, three):
        since = {room: await one.adapter.subscribe(room) for room in (CHAT, quiet)}
        await use_rooms(valkey, prefix, MOST_USED)
        now = await two.adapter.subscribe(CHAT)
        assert now != since[CHAT]
        past = await two.adapter.read(CHAT, since[CHAT])
        assert past.complete and past.offset == now
        await two.adapter.publish(emission("first"))
        for worker in (one, two):
            await until(lambda: worker.delivered)  # noqa: B023
            assert worker.delivered == ["first"]
        for offset in (since[CHAT], now):
            assert texts(await two.adapter.read(CHAT, offset)) == ["first"]
        # Now `quiet`, and one room too many.
        late = await three.adapter.subscribe(quiet)
        assert not (await three.adapter.read(quiet, since[quiet])).complete
        await two.adapter.publish(Emission(quiet, b"second"))
        await until(lambda: "second" in one.delivered)
        await until(lambda: three.delivered)
        assert one.delivered[1:] == ["resync", "second"]
        assert three.delivered == ["second"]
        assert texts(await three.adapter.read(quiet, late)) == ["second"]


async def test_a_subscribed_room_is_refreshed(valkey: Broker, prefix: str) -> None:
    """So its members are live for ever, however many other rooms begin meanwhile."""
    worker = Worker(valkey.url, prefix)
    async with started(worker):
        since = await worker.adapter.subscribe(CHAT)
        receiver = worker.adapter._running()
        [feed] = receiver.feeds.values()
        for _ in range(3):
            await use_rooms(valkey, prefix, MOST_USED * 9 // 10)
            await receiver.refresh(feed)
            await worker.adapter.subscribe(CHAT)  # waits until it is live
        assert feed.offset != since
        await worker.adapter.publish(emission("hi"))
        await until(lambda: worker.delivered)
        await valkey.cli("EXPIRE", feed.channel, 10)
        await receiver.refresh(feed)
        assert await valkey.cli("TTL", feed.channel) > 3600
        await evict_all(valkey, prefix)
        await receiver.refresh(feed)
        await until(lambda: len(worker.delivered) > 1)
    assert worker.delivered == ["hi", "resync"]


def test_which_state_begins_after_a_position() -> None:
    """One with the same id and no higher number; epochs of other releases never do."""
    id, other = "0123456789ab", "0123456789ac"
    for position, epoch, expected in (
        (f"{id}.5", f"{id}.5", True),
        (f"{id}.5", f"{id}.0", True),
        (f"{id}.5", f"{id}.6", False),
        (f"{id}.10", f"{id}.9", True),
        (f"{id}.5", f"{other}.0", False),
        ("6751a3f000123", "6751a3f000123", False),
        (f"{id}.5", "6751a3f000123", False),
        ("6751a3f000123", f"{id}.0", False),
        (None, f"{id}.0", False),
        (f"{id}.5x", f"{id}.0", False),
    ):
        assert begins_after(position, epoch) is expected, (position, epoch)


@pytest.mark.parametrize("number", ["0x", "00000000000000000000", "1e9", "-1", ""])
async def test_invented_positions(valkey: Broker, prefix: str, number: str) -> None:
    """They fail, or read no more than the room has."""
    worker = Worker(valkey.url, prefix)
    async with started(worker):
        own = await worker.adapter.subscribe(CHAT)
        assert own is not None
        id = own.epoch.partition(".")[0]
        for _ in range(2):
            past = await worker.adapter.read(CHAT, Offset(f"{id}.{number}", 0))
            assert past.complete is (number == "0" * 20)
            assert not (await worker.adapter.read(CHAT, Offset(f"{id}.{number}", 9))).complete
            await worker.adapter.publish(emission("hi"))
