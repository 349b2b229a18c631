"""Clients that are cut at random, in every kind of membership."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from tests.faults.clients import Client
from tests.faults.run import ROOMS, FaultRun, Report, fault_run
from tests.support import brokers
from tests.support.clock import SECOND

MEMBERS = 32
SPREAD = 0.4 * SECOND
"""Seconds in which every client is cut once."""


@contextlib.asynccontextmanager
async def started(adapter: str) -> AsyncIterator[FaultRun]:
    """Start a run on Redis, or on an adapter in one worker, with publishers but no members."""
    async with contextlib.AsyncExitStack() as stack:
        if adapter == "redis":
            broker = await stack.enter_async_context(brokers.valkey())
            run = fault_run(broker.url, members=0, publishers=4)
        else:
            run = fault_run(adapter=adapter, members=0, publishers=4, workers=1)
        yield await stack.enter_async_context(run)


async def cut_at_random(run: FaultRun, cuts: int) -> Report:
    """Cut every member so many times."""
    await asyncio.gather(*(member(run, number) for number in range(MEMBERS)))
    run.publish_from(run.members[0], ["", *ROOMS[:3]])
    run.publish_from(run.members[1], ROOMS[:3], event="both")
    for talker in run.members[3::8]:
        run.publish_from(talker, [*talker.rooms, ""], event="others")
    await run.flow(40)
    choice = random.Random(1)
    for _ in range(cuts):
        await asyncio.gather(*(cut(one, choice.random()) for one in run.members))
    await run.flow(80)
    return await run.settle(5)


async def member(run: FaultRun, number: int) -> Client:
    name, kind = f"m{number}", number % 4
    one, two = ROOMS[number % 10], ROOMS[(number + 3) % 10]
    if kind == 0:
        return await run.member(name, [one, two])
    if kind == 1:
        return await run.member(name)
    if kind == 2:
        return await run.member(name, query=f"?rooms={one},{two}")
    return await run.member(name, [two], query=f"?rooms={one}")


async def cut(client: Client, chance: float) -> None:
    """Cut the client, and maybe again: after the handshake, during its resume, or right after."""
    await asyncio.sleep(chance * SPREAD)
    client.cut()
    async with asyncio.timeout(20 * SECOND):
        if chance < 0.3:
            await client.greeted.wait()
            client.cut()
        elif chance < 0.6:
            await client.live.wait()
            client.cut()
        await client.live.wait()
