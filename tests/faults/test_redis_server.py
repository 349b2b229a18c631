"""Faults of the Redis server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.faults.checker import Membership
from tests.faults.run import FaultRun, Worker, fault_run
from tests.support import brokers
from tests.support.brokers import eventually
from tests.support.clock import SECOND

PATIENCE = 5
"""Seconds that an emit waits for Redis; the tests allow one more."""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3, 7])
async def test_a_frozen_server(seconds: int) -> None:
    """Nothing is doubled, the order is kept, everything is answered, and every gap is reported."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        broker.freeze()
        await run.pause(seconds)
        broker.thaw()
        await run.flow(160)
        report = await run.settle()
    assert report.clean() and report.slowest < (PATIENCE + 1) * SECOND, str(report)


@pytest.mark.parametrize("start", [brokers.valkey, brokers.redis])
async def test_a_killed_server_with_its_data_on_disk(start: Any) -> None:
    """kill -9, and a start after a second, with AOF and `trust_persistence`: nothing is lost."""
    async with (
        start(appendonly="yes") as broker,
        fault_run(broker.url, trust_persistence=True) as run,
    ):
        await run.flow(80)
        await broker.kill()
        await run.pause(1)
        await broker.start()
        await run.flow(160)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), str(report)


async def test_a_killed_server_without_its_data() -> None:
    """A new epoch: every member gets a gap, and new messages again within 3 s."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        fault = time.monotonic()
        await broker.kill()
        await run.pause(1)
        await broker.start()
        back = time.monotonic()
        await cut_all(run)
        await run.flow(320)
        report = await run.settle()
    assert_gaps(run, fault)
    assert report.clean() and run.recovery_time(back) < 3, str(report)


async def test_flushall() -> None:
    """The same, with a server that keeps running."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        fault = time.monotonic()
        await broker.cli("FLUSHALL")
        await cut_all(run)
        await run.flow(320)
        report = await run.settle()
    assert_gaps(run, fault)
    assert report.clean() and run.recovery_time(fault) < 3, str(report)


async def cut_all(run: FaultRun) -> None:
    """Cut half of the members: half learn of the gap by a resume, half while connected."""
    for member in run.members[::2]:
        member.cut()


def assert_gaps(run: FaultRun, since: float) -> None:
    gaps = run.gaps(since)
    missing = [
        Membership(member.name, room)
        for member in run.members
        for room in member.rooms
        if not gaps[Membership(member.name, room)]
    ]
    assert not missing


@pytest.mark.slow
async def test_a_server_that_is_away_for_long() -> None:
    """20 s: emits raise, /readyz fails, memory is bounded, and the workers recover."""
    async with brokers.valkey() as broker, fault_run(broker.url) as run:
        await run.flow(80)
        before = [memory(worker) for worker in run.workers]
        gone = time.monotonic()
        await broker.kill()

        async def unhealthy() -> bool:
            return all([await worker.status("/readyz") == 503 for worker in run.workers])

        await eventually(unhealthy, 6)
        for worker in run.workers:
            await assert_refused(worker)
        assert len([m for m in run.members if m.live.is_set()]) == len(run.members)
        await run.pause(20 - (time.monotonic() - gone) / SECOND)
        growth = [memory(w) - b for w, b in zip(run.workers, before, strict=True)]
        await broker.start()
        back = time.monotonic()
        await run.flow(320)

        async def healthy() -> bool:
            return all([await worker.status("/readyz") == 200 for worker in run.workers])

        await eventually(healthy, 3)
        report = await run.settle()
        logs = [worker.log for worker in run.workers]
    assert report.clean() and run.recovery_time(back) < 3, str(report)
    assert report.counts["refused: unavailable"] and report.slowest < (PATIENCE + 1) * SECOND
    assert max(growth) < 30_000, growth
    for log in logs:
        assert re.findall(r"Redis at \S+ is (unavailable|available again)", log) == [
            "unavailable",
            "available again",
        ], log


async def assert_refused(worker: Worker) -> None:
    """A new socket is refused with 503 within 5 s."""
    with pytest.raises(InvalidStatus, match="503"):
        async with asyncio.timeout((PATIENCE + 1) * SECOND):
            async with connect(worker.url, open_timeout=None):
                pass


def memory(worker: Worker) -> int:
    """The resident memory of the worker's process, in kB."""
    with contextlib.suppress(OSError):  # if there is no /proc
        for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0
