"""A master that is replaced by Sentinel, or by its cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import pairwise

import pytest

from tests.faults.lab import ROOMS, lab
from tests.faults.traces import Place
from tests.support import brokers
from tests.support.brokers import DOWN_AFTER, Broker, Cluster
from tests.support.clock import SECOND, until
from tests.support.proxy import Proxy
from wsroom import Adapter, AdapterError, RedisAdapter
from wsroom.adapters import Offset
from wsroom.adapters.redis.codec import Names, decode_record
from wsroom.adapters.redis.scripts import keys
from wsroom.timing import DEFAULT_TIMING
from wsroom.wire.emission import RESYNC, Emission, Room

BACK = DOWN_AFTER / SECOND + 8
"""Seconds after which a new master is found and used."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_sentinel_replaces_the_master(fault: str) -> None:
    """Emits and subscribers are back in time, and no hole is kept quiet."""
    async with brokers.sentinel() as replicated, lab(replicated.url) as run:
        await run.flow(80)
        old = await replicated.master()
        gone = time.monotonic()
        if fault == "kill":
            await old.kill()
        else:
            old.freeze()
        await replicated.failed_over(old)
        await until(lambda: run.live_again(gone) < BACK, BACK)  # all workers have moved
        if fault == "freeze":
            old.thaw()
            await run.flow(160)
        report = await run.settle()
        back = run.live_again(gone)
    assert report.clean() and back < BACK, f"back after {back:.1f} s\n{report}"


@pytest.mark.slow
async def test_a_deposed_master_that_comes_back() -> None:
    """One worker is with the new master already, and the other still with the old as it thaws.

    What was emitted on the old one then is accepted, and gone: the members on the other worker are
    told by whoever emitted it, as soon as that one sees the new master. Until then they may hear
    what others emit on the new one.
    """
    async with brokers.sentinel() as replicated, lab(replicated.url) as run:
        await run.flow(80)
        old = await replicated.master()
        old.freeze()
        await replicated.failed_over(old)
        await run.workers[1].kill()  # to have it connect anew, before the other does
        await run.workers[1].start()
        for client in [*run.members, *run.publishers]:
            client.cut()
        there = run.workers[1].url
        await until(lambda: sum(m.live.is_set() and m.url == there for m in run.members) > 5)
        old.thaw()
        await run.flow(640)
        report = await run.settle(late=BACK)
    assert report.clean(), str(report)


@pytest.mark.slow
async def test_what_is_lost_is_told_before_what_waits(prefix: str) -> None:
    """A caller's next message, which waited for the new master, comes after the word of the hole.

    The worker is the only one that knows the room, so that nobody else tells.
    """
    room = Room("/ws", "chat")
    async with brokers.sentinel() as replicated:
        adapter = RedisAdapter(replicated.url, prefix=prefix)
        await adapter.start(ignore)
        await adapter.publish(Emission(room, b"taken by the old one"))
        old = await replicated.master()
        await old.kill()
        said = asyncio.create_task(emitting(adapter, room))
        new = await replicated.failed_over(old)
        accepted = await said
        await adapter.stop(ignore)
        _, history = keys(Names(prefix).channel(room))
        entries = await new.cli("LRANGE", history, 0, -1)
    kept = [decode_record(room, entry.encode()) for entry in entries]
    assert accepted
    assert [record.emission.kind for record in kept][:1] == [RESYNC]
    assert accepted in [record.emission.payload for record in kept]


@pytest.mark.slow
async def test_what_is_learnt_late_is_told_all_the_same(prefix: str) -> None:
    """A worker and the old master are cut off from the Sentinels, for longer than any margin.

    What it emits there is accepted, and only it knows. The others have the new master by then.
    """
    room = Room("/ws", "chat")
    doubtful = DEFAULT_TIMING.doubtful
    heard: list[bytes] = []

    def note(emission: Emission, offset: Offset | None) -> None:
        heard.append(emission.payload or emission.kind.encode())

    async with brokers.sentinel() as replicated, contextlib.AsyncExitStack() as stack:
        proxies = [Proxy(sentinel.port) for sentinel in replicated.sentinels]
        ports = [await stack.enter_async_context(proxy.listen()) for proxy in proxies]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        one = RedisAdapter(f"redis+sentinel://{hosts}/main", prefix=prefix)
        two = RedisAdapter(replicated.url, prefix=prefix)
        for adapter, deliver in ((one, ignore), (two, note)):
            await adapter.start(deliver)
            stack.push_async_callback(adapter.stop, deliver)
        await two.subscribe(room)
        await one.publish(Emission(room, b"before"))
        old = await replicated.master()
        for proxy in proxies:
            proxy.dropping = True
        old.freeze()
        await replicated.failed_over(old)
        await until(lambda: b"resync" in heard)
        for sentinel in replicated.sentinels:
            sentinel.freeze()  # they do not reach the old one either
        old.thaw()
        await one.publish(Emission(room, b"lost"))
        lost, before = time.monotonic(), len(heard)
        await old.kill()
        await until(lambda: time.monotonic() - lost > doubtful + 1, 2 * doubtful)
        for sentinel in replicated.sentinels:
            sentinel.thaw()
        for proxy in proxies:
            proxy.dropping = False
        await until(lambda: b"resync" in heard[before:], 40)
    assert b"lost" not in heard


def ignore(emission: Emission, offset: Offset | None) -> None:
    """Deliver to nobody."""


async def emitting(adapter: Adapter, room: Room) -> bytes:
    """Emit one message after the other; return the first that is accepted."""
    for number in range(10):
        message = f"number {number}".encode()
        with contextlib.suppress(AdapterError):
            await adapter.publish(Emission(room, message))
            return message
    return b""


@pytest.mark.slow
async def test_a_cluster_replaces_a_hot_rooms_node() -> None:
    """The room is back in time; rooms on the other nodes notice nothing of it."""
    async with brokers.cluster() as cluster, lab(cluster.url, publishers=0) as run:
        nodes = {room: await node_of(cluster, room) for room in ROOMS}
        old = nodes[ROOMS[0]]
        hot = [room for room in ROOMS if nodes[room] is old]
        others = [room for room in ROOMS if nodes[room] is not old]
        for number in range(4):
            await run.publisher(f"hot{number}", hot)
            await run.publisher(f"other{number}", others)
        await run.flow(80)
        gone = time.monotonic()
        await old.kill()
        await run.flow(320)
        await cluster.failed_over(name(ROOMS[0]), old)
        await run.flow(160, BACK)
        report = await run.settle()
        back = run.live_again(gone)
    assert report.clean() and back < BACK, f"back after {back:.1f} s\n{report}"
    holes = run.holes()
    assert not any(holes.get(Place(m.name, room)) for m in run.members for room in others)
    accepted = sorted(s.accepted for s in run.record.said if s.accepted and s.room in others)
    pauses = [two - one for one, two in pairwise(accepted)]
    assert max(pauses) < SECOND, f"{max(pauses):.1f} s without a word in the other rooms"


def name(room: str) -> str:
    """What of a room's keys and channels decides about their node."""
    return f"{{/ws\n{room}}}"


async def node_of(cluster: Cluster, room: str) -> Broker:
    return await cluster.master(name(room))
