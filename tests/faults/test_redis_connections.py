"""Faults of the connections between workers and Redis: 0 lost, 0 doubled, 0 reordered."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.faults.checker import Membership
from tests.faults.clients import Client, Lost, Refused
from tests.faults.run import ROOMS, FaultRun, fault_run
from tests.support import brokers
from tests.support.brokers import Broker, eventually

START = pytest.mark.parametrize("start", [brokers.valkey, brokers.redis])


@START
async def test_a_killed_subscription(start: Any) -> None:
    """Once, during bursts: the workers notice, and read what they missed."""
    async with start() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        bursts = [
            client.burst(room, 50, 100)
            for client, room in zip(run.members, ROOMS[:4], strict=False)
        ]
        _, killed = await asyncio.gather(
            asyncio.gather(*bursts), broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        )
        assert killed == len(run.workers)
        await run.flow(80)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)


async def keep_one_worker_away(broker: Broker, run: FaultRun, seconds: float) -> None:
    """End the connections of one worker, and refuse new ones; the other worker continues."""
    async with broker.closed() as send:
        first, *_ = await send("CLIENT LIST", "TYPE", "pubsub")
        await send("CLIENT KILL", "ID", first["id"])
        await run.pause(seconds)


async def test_a_worker_without_redis_for_a_second() -> None:
    """It misses what the other worker emits meanwhile, and reads it afterwards."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        await keep_one_worker_away(broker, run, 1)
        await run.flow(160)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)


@pytest.mark.slow
async def test_subscriptions_killed_all_the_time_while_sockets_come_and_go() -> None:
    """Every 100 ms for 5 s; at the end exactly the rooms with members are subscribed."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        killing = asyncio.create_task(kill_all_the_time(broker, run))
        moving = [asyncio.create_task(join_and_leave(run, n, killing)) for n in range(8)]
        movers = await asyncio.gather(*moving)
        await run.flow(80)
        report = await run.settle()
        await asyncio.gather(*(mover.stop() for mover in movers))

        async def matching() -> bool:
            return await subscriptions(broker) == {r for m in run.members for r in m.rooms}

        await eventually(matching)
    assert report.clean() and not any(run.gaps().values()), str(report)


async def kill_all_the_time(broker: Broker, run: FaultRun) -> None:
    for _ in range(50):
        await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await run.pause(0.1)


async def join_and_leave(run: FaultRun, number: int, meanwhile: asyncio.Task[None]) -> Client:
    """Join and leave rooms, some of them without other members, and lose the connection."""
    choice = random.Random(number)
    rooms = [*ROOMS, "rare0", "rare1", "rare2"]
    client = Client(run.record, f"mover{number}", run.urls)
    await client.start()
    while not meanwhile.done():
        room = choice.choice(rooms)
        try:
            if choice.random() < 0.1:
                client.cut()
            elif room in client.rooms:
                await client.leave(room)
            else:
                await client.join(room)
        except (Lost, Refused):
            await client.live.wait()
    return client


async def subscriptions(broker: Broker) -> set[str]:
    """The names of the rooms that workers are subscribed to."""
    channels = await broker.cli("PUBSUB CHANNELS", "wsroom:{/ws\n*")
    return {name.rpartition("\n")[2].rstrip("}") for name in channels} - {""}


@START
async def test_killed_commands_and_forgotten_scripts(start: Any) -> None:
    """CLIENT KILL TYPE normal and SCRIPT FLUSH, repeatedly, under load."""
    async with start() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        for _ in range(10):
            assert await broker.cli("CLIENT", "KILL", "TYPE", "normal")
            await run.flow(8)
            await broker.cli("SCRIPT", "FLUSH")
            await run.flow(8)
        await run.flow(80)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)


async def test_an_output_buffer_that_is_too_small() -> None:
    """A worker does not read while 20 MB are emitted to one room: its members get a gap."""
    # Over TCP the kernel's buffers may be large enough for all of them.
    async with brokers.valkey(unixsocket="socket") as broker:
        # Valkey 9 does not count the payloads that several clients wait for, only what is around
        # them, so a limit of a megabyte would not be reached.
        await broker.cli("CONFIG SET", "client-output-buffer-limit", "pubsub 32kb 32kb 0")
        async with fault_run(f"unix://{broker.folder}/socket") as run:
            await run.flow(80)
            there = [member for member in run.members if ROOMS[0] in member.rooms]
            there = [member for member in there if member.url == there[0].url]
            (stopped,) = [worker for worker in run.workers if worker.url == there[0].url]
            (other,) = [worker for worker in run.workers if worker is not stopped]
            talker = await run.member("talker", among=[other])
            stopped.freeze()
            await talker.burst(ROOMS[0], 400, 50_000)
            stats = await broker.cli("INFO", "stats")
            assert stats["client_output_buffer_limit_disconnections"]
            stopped.thaw()
            await run.flow(160)
            report = await run.settle()
    assert report.clean(), str(report)
    assert all(run.gaps()[Membership(member.name, ROOMS[0])] for member in there), str(report)


async def test_a_history_shorter_than_the_gap() -> None:
    """Every member of the room on that worker gets a gap, and none gets a part of the messages."""
    async with brokers.valkey() as broker, fault_run(broker.url, history=5) as run:
        await run.flow(80)
        await keep_one_worker_away(broker, run, 2)
        await run.flow(160)
        report = await run.settle()
    assert report.clean(), str(report)
    gaps = run.gaps()
    notified = {
        member.url for member in run.members if gaps[Membership(member.name, member.rooms[0])]
    }
    assert len(notified) == 1, str(report)
    for member in run.members:
        for room in member.rooms:
            assert gaps[Membership(member.name, room)] == (member.url in notified), str(report)
