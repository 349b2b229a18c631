"""The tests' own brokers: they start, answer, and can be killed, frozen and restarted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import RedisError

from tests.support import brokers
from tests.support.brokers import Broker, Cluster, Replicated, eventually
from tests.support.clock import TICK


async def test_the_shared_brokers_answer(valkey: Broker, redis: Broker, prefix: str) -> None:
    """One of each for all tests of a process."""
    for broker, name in ((valkey, "valkey"), (redis, "redis")):
        assert await broker.cli("SET", f"{prefix}:key", "value") in (True, "OK")
        assert await broker.cli("GET", f"{prefix}:key") == "value"
        assert (await broker.info("server")).get("server_name", "redis") == name


@pytest.mark.parametrize("start", [brokers.valkey, brokers.redis])
async def test_a_broker_is_killed_frozen_and_started_again(start: Any) -> None:
    """On the same port; with an append-only file it keeps its data, and the run_id is new."""
    async with start(appendonly="yes") as broker:
        run_id = (await broker.info("server"))["run_id"]
        await broker.cli("SET", "key", "value")
        await broker.kill()
        with pytest.raises((RedisError, OSError)):
            await broker.cli("PING")
        await broker.start()
        assert await broker.cli("GET", "key") == "value"
        assert (await broker.info("server"))["run_id"] != run_id
        broker.freeze()
        ping = asyncio.create_task(broker.cli("PING"))
        done, _ = await asyncio.wait([ping], timeout=TICK)
        assert not done
        broker.thaw()
        assert await ping
        await broker.restart()
        assert await broker.cli("GET", "key") == "value"


async def test_a_frozen_broker_is_ended_too() -> None:
    """A frozen process is killed at the end of a test too."""
    async with brokers.valkey() as broker:
        process = broker._process
        broker.freeze()
    assert process is not None and process.returncode == -9


async def test_sentinels_replace_a_master(sentinel: Replicated) -> None:
    """A killed one by a replica, and a frozen one by another."""
    first = await sentinel.master()
    await first.cli("SET", "key", "value")
    await first.kill()
    second = await sentinel.failed_over(first)
    assert await second.cli("GET", "key") == "value"
    await first.start()
    await sentinel.heal()
    second.freeze()
    third = await sentinel.failed_over(second)
    assert third is not second and await third.cli("GET", "key") == "value"
    second.thaw()
    await sentinel.heal()


async def test_a_cluster_replaces_a_node(cluster: Cluster) -> None:
    """Its replica takes over its slots; other nodes keep serving their keys."""
    first = await cluster.master("key")
    (other, *_) = [key for key in "abcdef" if await cluster.master(key) is not first]
    await first.kill()
    assert await (await cluster.master(other)).cli("SET", other, "value")
    second = await cluster.failed_over("key", first)
    assert await second.cli("SET", "key", "value")
    await first.start()
    await eventually(cluster.whole)
