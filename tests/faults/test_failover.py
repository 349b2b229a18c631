"""A master that Sentinel, or its cluster, replaces."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import pairwise

import pytest

from tests.faults.checker import Membership
from tests.faults.run import ROOMS, fault_run
from tests.support import brokers
from tests.support.brokers import DOWN_AFTER, Broker, Cluster
from tests.support.clock import SECOND, until
from tests.support.proxy import Proxy
from wsroom import Adapter, AdapterError, RedisAdapter
from wsroom.adapters import Offset
from wsroom.adapters.redis.codec import RedisNames, decode_record
from wsroom.adapters.redis.scripts import sequence_keys
from wsroom.timing import Timing
from wsroom.wire.emission import RESYNC, Emission, Room

BACK = DOWN_AFTER / SECOND + 8
"""Seconds within which a new master is found and used."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_sentinel_replaces_the_master(fault: str) -> None:
    """Emits and subscribers recover in time, and every gap is reported."""
    async with brokers.sentinel() as replicated, fault_run(replicated.url) as run:
        await run.flow(80)
        old = await replicated.master()
        gone = time.monotonic()
        if fault == "kill":
            await old.kill()
        else:
            old.freeze()
        await replicated.failed_over(old)
        await until(lambda: run.recovery_time(gone) < BACK, BACK)  # all workers use the new master
        if fault == "freeze":
            old.thaw()
            await run.flow(160)
        report = await run.settle()
        back = run.recovery_time(gone)
    assert report.clean() and back < BACK, f"back after {back:.1f} s\n{report}"


@pytest.mark.slow
async def test_a_deposed_master_that_comes_back() -> None:
    """One worker uses the new master already, and the other the old one when it continues.

    The old master accepts emissions that are then lost. The worker that emitted them reports the
    gap as soon as it uses the new master. Until then, members may receive what other workers emit
    there.
    """
    async with brokers.sentinel() as replicated, fault_run(replicated.url) as run:
        await run.flow(80)
        old = await replicated.master()
        old.freeze()
        await replicated.failed_over(old)
        await run.workers[1].kill()  # so that it reconnects before the other worker
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
async def test_a_gap_is_reported_before_waiting_messages(prefix: str) -> None:
    """The next message, which waited for the new master, is delivered after the `resync`.

    The worker is the only one that knows the room, so no other reports the gap.
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
        _, history, _ = sequence_keys(RedisNames(prefix).channel(room), sharded=False)
        entries = await new.cli("LRANGE", history, 0, -1)
    kept = [decode_record(room, entry.encode()) for entry in entries]
    assert accepted
    assert [record.emission.kind for record in kept][:1] == [RESYNC]
    assert accepted in [record.emission.payload for record in kept]


@pytest.mark.slow
async def test_a_gap_that_is_detected_late_is_reported(prefix: str) -> None:
    """A worker and the old master are cut off from the Sentinels for longer than any margin.

    The old master accepts its emissions, and only this worker knows them. The others use the new
    master by then.
    """
    room = Room("/ws", "chat")
    timing = Timing(doubtful=3 * SECOND)
    heard: list[bytes] = []

    def note(emission: Emission, offset: Offset | None) -> None:
        heard.append(emission.payload or emission.kind.encode())

    async with brokers.sentinel() as replicated, contextlib.AsyncExitStack() as stack:
        proxies = [Proxy(sentinel.port) for sentinel in replicated.sentinels]
        ports = [await stack.enter_async_context(proxy.listen()) for proxy in proxies]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        one = RedisAdapter(f"redis+sentinel://{hosts}/main", prefix=prefix, _timing=timing)
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
            sentinel.freeze()  # they do not reach the old master either
        old.thaw()
        await one.publish(Emission(room, b"lost"))
        lost, before = time.monotonic(), len(heard)
        await old.kill()
        await until(lambda: time.monotonic() - lost > timing.doubtful + SECOND)
        for sentinel in replicated.sentinels:
            sentinel.thaw()
        for proxy in proxies:
            proxy.dropping = False
        await until(lambda: b"resync" in heard[before:], 40)
    assert b"lost" not in heard


def ignore(emission: Emission, offset: Offset | None) -> None:
    """Drop the emission."""


async def emitting(adapter: Adapter, room: Room) -> bytes:
    """Emit messages until one is accepted; return it."""
    for number in range(10):
        message = f"number {number}".encode()
        with contextlib.suppress(AdapterError):
            await adapter.publish(Emission(room, message))
            return message
    return b""


@pytest.mark.slow
async def test_a_cluster_replaces_a_hot_rooms_node() -> None:
    """Its rooms recover in time; rooms on the other nodes are not affected."""
    async with brokers.cluster() as cluster, fault_run(cluster.url, publishers=0) as run:
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
        back = run.recovery_time(gone)
    assert report.clean() and back < BACK, f"back after {back:.1f} s\n{report}"
    gaps = run.gaps()
    assert not any(gaps.get(Membership(m.name, room)) for m in run.members for room in others)
    accepted = sorted(s.accepted for s in run.record.sent if s.accepted and s.room in others)
    pauses = [two - one for one, two in pairwise(accepted)]
    assert max(pauses) < SECOND, f"{max(pauses):.1f} s without a message in the other rooms"


def name(room: str) -> str:
    """The hash tag of a room's keys and channels, which decides about their node."""
    return f"{{/ws\n{room}}}"


async def node_of(cluster: Cluster, room: str) -> Broker:
    return await cluster.master(name(room))
