"""Joins that race emits, and what else is on the same Redis."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.clients import Client
from tests.faults.lab import ROOMS, Lab, lab
from tests.faults.traces import Said
from tests.support import brokers
from tests.support.clock import until

PAIRS = 10
ROUNDS = 200


@pytest.mark.slow
async def test_nothing_passes_by_after_the_reply_to_a_join() -> None:
    """2,000 rounds of an emit on one worker during a join on the other, and one right after it."""
    async with brokers.valkey() as broker, lab(broker.url, members=0, publishers=0) as run:
        one, two = run.workers
        pairs = []
        for number in range(PAIRS):
            joiner = await run.member(f"joiner{number}", among=[one])
            talker = await run.member(f"talker{number}", among=[two])
            pairs.append(join_and_leave(run, joiner, talker, f"pair{number}"))
        await asyncio.gather(*pairs)
        report = await run.settle()
    assert report.clean() and report.accepted > 2 * PAIRS * ROUNDS, str(report)


async def join_and_leave(run: Lab, joiner: Client, talker: Client, room: str) -> None:
    for _ in range(ROUNDS):
        _, meanwhile = await asyncio.gather(joiner.join(room), talker.say(room))
        after = await talker.say(room)
        await until(lambda: got(run, joiner, after))  # noqa: B023
        await joiner.leave(room)
        assert meanwhile.accepted and after.accepted


def got(run: Lab, client: Client, said: Said) -> bool:
    trace = run.record.trace(client.name, said.room)
    return any(entry.key == said.key for entry in reversed(trace[-4:]))


async def test_two_prefixes_on_one_redis() -> None:
    """Two apps with the same rooms, and neither hears the other."""
    async with (
        brokers.valkey() as broker,
        lab(broker.url, members=10, publishers=2, names="a", prefix="one") as one,
        lab(broker.url, members=10, publishers=2, names="b", prefix="two") as two,
    ):
        await asyncio.gather(one.flow(40), two.flow(40))
        reports = [await run.settle() for run in (one, two)]
    for report in reports:
        assert report.clean() and report.delivered > report.accepted, str(report)


GARBAGE = (
    *(b"", b"\n\n\n", b"\xff\xfe\x00", b"hello", b"x" * 1_000_000),
    *(b"{}", b"[]", b"null", b'{"event":"said","message":1}'),
    b"1:1\n1 ab 1\n\n{}",
    b"1:1\n1 ab 1\n[]\n{}",
    b'1:1\n1 ab 1\n{"rooms":5}\n{}',
    b'1:1\n1 ab 1\n{"room":["/ws"]}\n{}',
    b'1:1\n1 ab 1\n{"rooms":[[]]}\n{}',
    b"1:99999999999999999999\n1 ab 1\n\n{}",
    b"1:1\n2 ab 1\n\n{}",
    b"1:2\n1 ab 1\n\n\xff\xff",
)


async def test_foreign_bytes_on_our_channels() -> None:
    """Dropped, said once in the log, and nobody notices."""
    async with brokers.valkey() as broker, lab(broker.url, members=20) as run:
        await run.flow(40)
        channels = await broker.cli("PUBSUB CHANNELS", "*")
        for channel in channels:
            for data in GARBAGE:
                await broker.cli("PUBLISH", channel, data)
        await run.flow(80)
        report = await run.settle()
        logs = [worker.log for worker in run.workers]
    assert report.clean(), str(report)
    assert [log.count("is none of wsroom's") for log in logs] == [1, 1], logs
    assert len(channels) > len(ROOMS)
