"""What happens to the connections between workers and Redis: 0 lost, 0 doubled, 0 reordered."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.faults.clients import Client, Lost, Refused
from tests.faults.lab import ROOMS, Lab, lab
from tests.faults.traces import Place
from tests.support import brokers
from tests.support.brokers import Broker, eventually

START = pytest.mark.parametrize("start", [brokers.valkey, brokers.redis])


@START
async def test_a_killed_subscription(start: Any) -> None:
    """Once, with bursts on their way: the workers notice, and read what they missed."""
    async with start() as broker, lab(broker.url) as run:
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
    assert report.clean() and not any(run.holes().values()), str(report)


async def keep_one_worker_away(broker: Broker, run: Lab, seconds: float) -> None:
    """End the connections of one worker, and take no new ones; the other worker goes on."""
    async with broker.closed() as send:
        first, *_ = await send("CLIENT LIST", "TYPE", "pubsub")
        await send("CLIENT KILL", "ID", first["id"])
        await run.pause(seconds)


async def test_a_worker_without_redis_for_a_second() -> None:
    """What the other worker emitted meanwhile is a gap for certain, and is read afterwards."""
    async with brokers.valkey() as broker, lab(broker.url) as run:
        await run.flow(80)
        await keep_one_worker_away(broker, run, 1)
        await run.flow(160)
        report = await run.settle()
    assert report.clean() and not any(run.holes().values()), str(report)


@pytest.mark.slow
async def test_subscriptions_killed_all_the_time_while_sockets_come_and_go() -> None:
    """Every 100 ms for 5 s; and at the end what is subscribed is what has members."""
    async with brokers.valkey() as broker, lab(broker.url) as run:
        killing = asyncio.create_task(kill_all_the_time(broker, run))
        moving = [asyncio.create_task(come_and_go(run, n, killing)) for n in range(8)]
        movers = await asyncio.gather(*moving)
        await run.flow(80)
        report = await run.settle()
        await asyncio.gather(*(mover.stop() for mover in movers))

        async def matching() -> bool:
            return await subscriptions(broker) == {r for m in run.members for r in m.rooms}

        await eventually(matching)
    assert report.clean() and not any(run.holes().values()), str(report)


async def kill_all_the_time(broker: Broker, run: Lab) -> None:
    for _ in range(50):
        await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await run.pause(0.1)


async def come_and_go(run: Lab, number: int, meanwhile: asyncio.Task[None]) -> Client:
    """Join and leave rooms, some of which nobody else is in, and lose the connection."""
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
    """The names of the rooms that workers hear."""
    channels = await broker.cli("PUBSUB CHANNELS", "wsroom:{/ws\n*")
    return {name.rpartition("\n")[2].rstrip("}") for name in channels} - {""}


@START
async def test_killed_commands_and_forgotten_scripts(start: Any) -> None:
    """CLIENT KILL TYPE normal again and again, and SCRIPT FLUSH, under load."""
    async with start() as broker, lab(broker.url) as run:
        await run.flow(80)
        for _ in range(10):
            assert await broker.cli("CLIENT", "KILL", "TYPE", "normal")
            await run.flow(8)
            await broker.cli("SCRIPT", "FLUSH")
            await run.flow(8)
        await run.flow(80)
        report = await run.settle()
    assert report.clean() and not any(run.holes().values()), str(report)


async def test_an_output_buffer_that_is_too_small() -> None:
    """A worker that does not read while 20 MB go into one room: its members are told."""
    # Over TCP the kernel alone may take them all.
    async with brokers.valkey(unixsocket="socket") as broker:
        await broker.cli("CONFIG SET", "client-output-buffer-limit", "pubsub 1mb 1mb 0")
        async with lab(f"unix://{broker.folder}/socket") as run:
            await run.flow(80)
            there = [member for member in run.members if ROOMS[0] in member.rooms]
            there = [member for member in there if member.url == there[0].url]
            (stopped,) = [worker for worker in run.workers if worker.url == there[0].url]
            (other,) = [worker for worker in run.workers if worker is not stopped]
            talker = await run.member("talker", among=[other])
            stopped.freeze()
            await talker.burst(ROOMS[0], 400, 50_000)
            stopped.thaw()
            await run.flow(160)
            report = await run.settle()
    assert report.clean(), str(report)
    assert all(run.holes()[Place(member.name, ROOMS[0])] for member in there), str(report)


async def test_a_history_shorter_than_the_gap() -> None:
    """Every member of the room on that worker is told, and nobody gets a part of it."""
    async with brokers.valkey() as broker, lab(broker.url, history=5) as run:
        await run.flow(80)
        await keep_one_worker_away(broker, run, 2)
        await run.flow(160)
        report = await run.settle()
    assert report.clean(), str(report)
    holes = run.holes()
    told = {member.url for member in run.members if holes[Place(member.name, member.rooms[0])]}
    assert len(told) == 1, str(report)
    for member in run.members:
        for room in member.rooms:
            assert holes[Place(member.name, room)] == (member.url in told), str(report)
