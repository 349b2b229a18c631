"""The harness is seen to find flaws, on an adapter that has none of the mechanisms."""

from __future__ import annotations

from tests.faults.lab import lab
from tests.support import brokers


async def test_without_a_fault_nothing_is_found() -> None:
    """Plain PUBLISH and SUBSCRIBE do while nothing happens."""
    async with brokers.valkey() as broker, lab(broker.url, adapter="naive") as run:
        await run.flow()
        report = await run.settle()
    assert not report.flaws and not report.hung, str(report)
    assert report.delivered > report.accepted > 160


async def test_a_killed_connection_is_seen_to_lose() -> None:
    """redis-py connects again and subscribes again, and says nothing of what it missed."""
    async with brokers.valkey() as broker, lab(broker.url, adapter="naive") as run:
        enough = run.record.accepted + 320
        while run.record.accepted < enough:
            await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        report = await run.settle()
    assert report.kinds().keys() == {"lost"}, str(report)


async def test_a_frozen_broker_is_seen_to_double() -> None:
    """redis-py's retries execute a PUBLISH again that had only been late."""
    async with brokers.valkey() as broker, lab(broker.url, adapter="naive") as run:
        await run.flow()
        broker.freeze()
        await run.pause(3)
        broker.thaw()
        await run.flow()
        report = await run.settle()
    assert "doubled" in report.kinds(), str(report)
