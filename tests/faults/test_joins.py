"""Joins that race emits."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.checker import SentMessage
from tests.faults.clients import Client
from tests.faults.run import FaultRun, fault_run
from tests.support import brokers
from tests.support.clock import until

PAIRS = 10
ROUNDS = 200


@pytest.mark.slow
async def test_nothing_passes_by_after_the_reply_to_a_join() -> None:
    """2,000 rounds of an emit on one worker during a join on the other, and one right after it."""
    async with brokers.valkey() as broker, fault_run(broker.url, members=0, publishers=0) as run:
        one, two = run.workers
        pairs = []
        for number in range(PAIRS):
            joiner = await run.member(f"joiner{number}", among=[one])
            talker = await run.member(f"talker{number}", among=[two])
            pairs.append(join_and_leave(run, joiner, talker, f"pair{number}"))
        await asyncio.gather(*pairs)
        report = await run.settle()
    assert report.clean() and report.accepted > 2 * PAIRS * ROUNDS, str(report)


async def join_and_leave(run: FaultRun, joiner: Client, talker: Client, room: str) -> None:
    for _ in range(ROUNDS):
        _, meanwhile = await asyncio.gather(joiner.join(room), talker.say(room))
        after = await talker.say(room)
        await until(lambda: got(run, joiner, after))  # noqa: B023
        await joiner.leave(room)
        assert meanwhile.accepted and after.accepted


def got(run: FaultRun, client: Client, said: SentMessage) -> bool:
    trace = run.record.trace(client.name, said.room)
    return any(entry.key == said.key for entry in reversed(trace[-4:]))
