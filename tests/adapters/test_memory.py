"""MemoryAdapter under the contract: one adapter, two hubs on it."""

from __future__ import annotations

import pytest

from tests.support.clock import SECOND
from wsroom import Adapter, MemoryAdapter
from wsroom.adapters import Emission, Offset
from wsroom.testing.contract import HistoryContract, emission


class TestMemoryAdapter(HistoryContract):
    timeout = 10 * SECOND

    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        return [MemoryAdapter()] * 2


def test_memory_is_not_shared_between_processes() -> None:
    """That is what makes several workers a refused start."""
    assert MemoryAdapter.shared is False and Adapter.shared is True


async def test_what_was_abandoned_is_delivered_to_no_more() -> None:
    """Only that: others may share the adapter. It may begin again, or never have begun."""
    adapter = MemoryAdapter()
    heard: list[str] = []

    def one(emission: Emission, offset: Offset | None) -> None:
        heard.append("one")

    def two(emission: Emission, offset: Offset | None) -> None:
        heard.append("two")

    adapter.abandon(one)
    await adapter.start(one)
    await adapter.start(two)
    adapter.abandon(one)
    await adapter.publish(emission("hello"))
    assert heard == ["two"]
    await adapter.start(one)
    await adapter.publish(emission("hello"))
    assert heard == ["two", "two", "one"]
