"""RedisAdapter passes the contract on each kind of server that it supports."""

from __future__ import annotations

import pytest

from tests.support.clock import SECOND
from wsroom import Adapter, RedisAdapter
from wsroom.testing.contract import HistoryContract, PresenceContract

BROKERS = ("valkey", "redis", "sentinel", "cluster")


class TestRedisAdapter(HistoryContract, PresenceContract):
    timeout = 10 * SECOND

    @pytest.fixture(params=BROKERS)
    def adapters(self, request: pytest.FixtureRequest, prefix: str) -> list[Adapter]:
        url = request.getfixturevalue(request.param).url
        return [RedisAdapter(url, prefix=prefix) for _ in range(2)]
