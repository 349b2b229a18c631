"""What happens to a worker: its clients go to the other one, and nothing is missing."""

from __future__ import annotations

import pytest

from tests.faults.lab import lab
from tests.support import brokers

HISTORY = 300
"""More than what is said in a room while a worker stands still."""


async def test_a_killed_worker() -> None:
    """kill -9: its clients resume on the other, 0/0/0; and it may come back."""
    async with brokers.valkey() as broker, lab(broker.url) as run:
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
    assert report.clean() and not any(run.holes().values()), str(report)


@pytest.mark.slow
async def test_a_worker_that_stands_still() -> None:
    """SIGSTOP for 10 s: who notices resumes on the other, who does not gets it all afterwards."""
    async with brokers.valkey() as broker, lab(broker.url, history=HISTORY) as run:
        await run.flow(80)
        there = {member.name for member in run.members if member.url == run.workers[0].url}
        run.workers[0].freeze()
        await run.pause(10)
        stayed = [m for m in run.members if m.live.is_set() and m.url == run.workers[0].url]
        left = [m for m in run.members if m.live.is_set() and m.url != run.workers[0].url]
        assert stayed and there & {member.name for member in left}
        run.workers[0].thaw()
        await run.flow(320)
        report = await run.settle()
    assert report.clean() and not any(run.holes().values()), str(report)
