"""The fault tests detect flaws: in plain Pub/Sub, and in adapters that break one guarantee."""

from __future__ import annotations

import pytest

from tests.faults.random_cuts import cut_at_random, started
from tests.faults.run import fault_run
from tests.support import brokers


async def test_without_a_fault_nothing_is_found() -> None:
    """Plain PUBLISH and SUBSCRIBE are enough without a fault."""
    async with brokers.valkey() as broker, fault_run(broker.url, adapter="pubsub") as run:
        await run.flow()
        report = await run.settle()
    assert not report.flaws and not report.unanswered, str(report)
    assert report.delivered > report.accepted > 160


async def test_a_killed_connection_is_seen_to_lose() -> None:
    """redis-py reconnects and subscribes again, and does not report what it missed."""
    async with brokers.valkey() as broker, fault_run(broker.url, adapter="pubsub") as run:
        enough = run.record.accepted + 320
        while run.record.accepted < enough:
            await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        report = await run.settle()
    assert report.kinds().keys() == {"lost"}, str(report)


async def test_a_frozen_broker_is_seen_to_double() -> None:
    """redis-py's retries repeat a PUBLISH that was only late."""
    async with brokers.valkey() as broker, fault_run(broker.url, adapter="pubsub") as run:
        await run.flow()
        broker.freeze()
        await run.pause(3)
        broker.thaw()
        await run.flow()
        report = await run.settle()
    assert "doubled" in report.kinds(), str(report)


@pytest.mark.parametrize(
    "adapter, flaw",
    [
        ("no-replay", "lost"),
        ("no-exclusion", "leaked"),
        ("duplicating", "doubled"),
        ("reordering", "reordered"),
    ],
)
async def test_faulty_adapters_are_detected(adapter: str, flaw: str) -> None:
    """The same run as with a correct adapter, only shorter."""
    async with started(adapter) as run:
        report = await cut_at_random(run, 3)
    assert flaw in report.kinds(), str(report)
