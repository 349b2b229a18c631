"""Other apps and foreign messages on the same Redis."""

from __future__ import annotations

import asyncio

from tests.faults.run import ROOMS, fault_run
from tests.support import brokers


async def test_two_prefixes_on_one_redis() -> None:
    """Two apps with the same rooms do not receive each other's messages."""
    async with (
        brokers.valkey() as broker,
        fault_run(broker.url, members=10, publishers=2, names="a", prefix="one") as one,
        fault_run(broker.url, members=10, publishers=2, names="b", prefix="two") as two,
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
    """They are dropped, logged once, and no client notices."""
    async with brokers.valkey() as broker, fault_run(broker.url, members=20) as run:
        await run.flow(40)
        channels = await broker.cli("PUBSUB CHANNELS", "*")
        for channel in channels:
            for data in GARBAGE:
                await broker.cli("PUBLISH", channel, data)
        await run.flow(80)
        report = await run.settle()
        logs = [worker.log for worker in run.workers]
    assert report.clean(), str(report)
    assert [log.count("is not from wsroom") for log in logs] == [1, 1], logs
    assert len(channels) > len(ROOMS)
