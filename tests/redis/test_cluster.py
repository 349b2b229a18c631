"""A cluster: slots that move, rooms that are left, and servers that are not a cluster."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.adapters import CHAT, Worker, emission, started
from tests.support.brokers import Broker, Cluster
from tests.support.clock import QUICK, until
from tests.support.processes import eventually
from wsroom import AdapterError
from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network import topology as topologies
from wsroom.adapters.redis.network.url import read_topology


async def test_a_room_follows_its_slot(cluster: Cluster, prefix: str) -> None:
    """A worker that only subscribes notices too."""
    one, two = Worker(cluster.url, prefix), Worker(cluster.url, prefix)
    channel = f"{prefix}:{{/ws\nchat}}"
    async with started(one, two):
        await one.adapter.subscribe(CHAT)
        await two.adapter.publish(emission("before"))
        await until(lambda: "before" in one.delivered)
        masters, source, target = await two_masters(cluster, channel)
        await move(masters, source, target, channel)
        await until(lambda: one.delivered[1:])  # the offsets of the old slot are invalid now
        assert one.delivered[1:] == ["resync"]
        await two.adapter.publish(emission("after"))
        await until(lambda: "after" in one.delivered)
        await move(masters, target, source, channel)


class Unsteady(topologies.ClusterTopology):
    """A cluster whose next `refresh` fails, if a test sets `fails`."""

    fails = False

    async def refresh(self) -> None:
        if self.fails:
            self.fails = False
            raise RedisConnectionError("the node did not answer")
        await super().refresh()


async def test_a_slot_that_moves_while_the_topology_is_unavailable(
    cluster: Cluster, prefix: str
) -> None:
    """The topology is requested again, also by a worker that only subscribes."""
    one, two = Worker(cluster.url, prefix), Worker(cluster.url, prefix)
    client = RedisCluster.from_url(cluster.url.replace("redis+cluster", "redis"))
    one.adapter._topology = unsteady = Unsteady(cluster.url, client, owns_client=True)
    channel = RedisNames(prefix).channel(CHAT)
    async with started(one, two):
        await one.adapter.subscribe(CHAT)
        await two.adapter.publish(emission("before"))
        await until(lambda: "before" in one.delivered)
        masters, source, target = await two_masters(cluster, channel)
        unsteady.fails = True
        await move(masters, source, target, channel)
        await until(lambda: not unsteady.fails)
        await two.adapter.publish(emission("after"))
        await until(lambda: len(one.delivered) > 1)  # it, or that it was lost
        await move(masters, target, source, channel)


async def role(node: Broker) -> str:
    return str((await node.info("replication"))["role"])


async def two_masters(cluster: Cluster, channel: str) -> tuple[list[Broker], Broker, Broker]:
    """All masters; the one that has the channel's slot; another one."""
    masters = [node for node in cluster.brokers if await role(node) == "master"]
    source = await cluster.master(channel)
    return masters, source, next(node for node in masters if node is not source)


async def move(masters: list[Broker], source: Broker, target: Broker, channel: str) -> None:
    """Move the slot of a channel to another master, with its keys."""
    slot = int(await source.cli("CLUSTER KEYSLOT", channel))
    ids = {node: await node.cli("CLUSTER MYID") for node in masters}
    await target.cli("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    await source.cli("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    for key in await source.cli("CLUSTER GETKEYSINSLOT", slot, 100):
        await source.cli("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    for node in (target, source, *(set(masters) - {source, target})):
        await node.cli("CLUSTER SETSLOT", slot, "NODE", ids[target])


async def test_rooms_that_are_left_in_a_cluster_are_unsubscribed(
    cluster: Cluster, prefix: str
) -> None:
    """The confirmation of an unsubscription is not mistaken for a slot that has moved."""
    worker = Worker(cluster.url, prefix)
    async with started(worker):
        for _ in range(2):
            await worker.adapter.subscribe(CHAT)
            worker.adapter.unsubscribe(CHAT)
        node = await cluster.master(RedisNames(prefix).channel(CHAT))

        async def unsubscribed() -> bool:
            return not await node.cli("PUBSUB", "SHARDCHANNELS", f"{prefix}:{{/ws*")

        await eventually(unsubscribed)


async def test_a_refresh_of_a_cluster_can_be_cancelled(valkey: Broker) -> None:
    """At any moment: a wait that ignores a cancellation would block the start."""
    cluster = read_topology(valkey.url.replace("redis:", "redis+cluster:"))
    loop = asyncio.get_running_loop()
    for step in range(400):
        task = asyncio.ensure_future(cluster.refresh())
        cancelling = loop.call_later(step / 400 * 0.004, task.cancel)
        with contextlib.suppress(asyncio.CancelledError, RedisConnectionError):
            await task
        cancelling.cancel()
        assert task.cancelled() or not task.cancelling()
    await cluster.close()


async def test_a_single_server_is_not_a_cluster(valkey: Broker, prefix: str) -> None:
    worker = Worker(valkey.url.replace("redis:", "redis+cluster:"), prefix, _timing=QUICK)
    with pytest.raises(AdapterError, match="cluster"):
        async with started(worker):
            raise AssertionError("it started")
