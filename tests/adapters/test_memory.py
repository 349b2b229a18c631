"""MemoryAdapter passes the contract, with two workers on one adapter."""

from __future__ import annotations

import pytest

from tests.support.clock import SECOND
from wsroom import Adapter, MemoryAdapter
from wsroom.adapters import Emission, Offset
from wsroom.testing.contract import HistoryContract, PresenceContract, emission


class TestMemoryAdapter(HistoryContract, PresenceContract):
    timeout = 10 * SECOND

    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        return [MemoryAdapter()] * 2


def test_memory_is_not_shared_between_processes() -> None:
    """Therefore several workers refuse to start."""
    assert MemoryAdapter.shared is False and Adapter.shared is True


async def test_an_abandoned_start_gets_nothing() -> None:
    """Other apps on the adapter go on. It can start again, and need not have started."""
    adapter = MemoryAdapter()
    delivered: list[str] = []

    def one(emission: Emission, offset: Offset | None) -> None:
        delivered.append("one")

    def two(emission: Emission, offset: Offset | None) -> None:
        delivered.append("two")

    adapter.abandon(one)
    await adapter.start(one)
    await adapter.start(two)
    adapter.abandon(one)
    await adapter.publish(emission("hello"))
    assert delivered == ["two"]
    await adapter.start(one)
    await adapter.publish(emission("hello"))
    assert delivered == ["two", "two", "one"]
