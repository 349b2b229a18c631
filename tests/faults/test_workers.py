"""Faults of a worker: its clients resume on the other one, and miss nothing."""

from __future__ import annotations

import pytest

from tests.faults.run import FaultRun, fault_run
from tests.support import brokers
from tests.support.clock import SECOND, until
from wsroom.timing import Timing

HISTORY = 300
"""More messages than a room gets while a worker is frozen."""


async def test_a_killed_worker() -> None:
    """kill -9: its clients resume on the other worker; then it is started again."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        await run.workers[0].kill()
        await run.flow(160)
        assert {member.url for member in run.members} == {run.workers[1].url}
        await run.workers[0].start()
        for member in run.members[::2]:
            member.cut()
        await run.flow(160)
        assert len({member.url for member in run.members}) == 2
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)


def live_on(run: FaultRun, url: str) -> set[str]:
    """The names of the members that are connected to this worker."""
    return {member.name for member in run.members if member.live.is_set() and member.url == url}


@pytest.mark.slow
async def test_a_worker_that_stands_still() -> None:
    """SIGSTOP: clients that notice resume on the other worker, the others wait for it."""
    timing = Timing(
        redis_timeout=2.5 * SECOND,
        heartbeat_interval=1 * SECOND,
        unhealthy_after=2 * SECOND,
        reconnect_after=3 * SECOND,
    )
    async with (
        brokers.valkey() as broker,
        fault_run(broker.url, history=HISTORY, timing=timing) as run,
    ):
        await run.flow(80)
        there = {member.name for member in run.members if member.url == run.workers[0].url}
        run.workers[0].freeze()
        await run.pause(5)
        stayed = [m for m in run.members if m.live.is_set() and m.url == run.workers[0].url]
        assert stayed
        await until(lambda: there & live_on(run, run.workers[1].url))
        run.workers[0].thaw()
        await run.flow(320)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)
