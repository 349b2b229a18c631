"""Members whose connections break: each gets exactly what it missed, whatever it is a member of."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.faults.clients import Client
from tests.faults.lab import ROOMS, Lab, Report, lab
from tests.support import brokers
from tests.support.clock import SECOND

MEMBERS = 32
CUTS = 8
SPREAD = 0.4 * SECOND
"""In which all of them are cut once."""


@contextlib.asynccontextmanager
async def started(adapter: str) -> AsyncIterator[Lab]:
    async with contextlib.AsyncExitStack() as stack:
        if adapter == "redis":
            broker = await stack.enter_async_context(brokers.valkey())
            run = lab(broker.url, members=0, publishers=4)
        else:
            run = lab(adapter=adapter, members=0, publishers=4, workers=1)
        yield await stack.enter_async_context(run)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["memory", "redis"])
async def test_every_member_is_cut_at_random(adapter: str) -> None:
    """Twice in a row too: members of two rooms, of the path alone, by on_connect, and talkers."""
    async with started(adapter) as run:
        report = await cut_at_random(run)
    assert report.clean() and not any(run.holes().values()), str(report)
    assert report.counts["recovered"] > CUTS * MEMBERS, str(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapter, flaw",
    [
        ("forgetful", "lost"),
        ("indiscreet", "leaked"),
        ("stuttering", "doubled"),
        ("hasty", "reordered"),
    ],
)
async def test_broken_adapters_are_found_out(adapter: str, flaw: str) -> None:
    """The same run, with one mechanism less."""
    async with started(adapter) as run:
        report = await cut_at_random(run)
    assert flaw in report.kinds(), str(report)


async def cut_at_random(run: Lab) -> Report:
    await asyncio.gather(*(member(run, number) for number in range(MEMBERS)))
    run.speak(run.members[0], ["", *ROOMS[:3]])
    run.speak(run.members[1], ROOMS[:3], event="both")
    for talker in run.members[3::8]:
        run.speak(talker, [*talker.rooms, ""], event="hush")
    await run.flow(40)
    choice = random.Random(1)
    for _ in range(CUTS):
        await asyncio.gather(*(cut(one, choice.random()) for one in run.members))
    await run.flow(80)
    return await run.settle(5)


async def member(run: Lab, number: int) -> Client:
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
    """Cut it, and maybe again: as it is connected, while it resumes, or right after."""
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
