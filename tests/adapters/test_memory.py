"""MemoryAdapter under the contract: one adapter, two hubs on it."""

from __future__ import annotations

import pytest

from tests.adapters.contract import AdapterContract
from wsroom import Adapter, MemoryAdapter


class TestMemoryAdapter(AdapterContract):
    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        return [MemoryAdapter()] * 2


def test_memory_is_not_shared_between_processes() -> None:
    """That is what makes several workers a refused start."""
    assert MemoryAdapter.shared is False and Adapter.shared is True
