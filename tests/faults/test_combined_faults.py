"""All faults that must not lose a message, at random and combined."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.run import ROOMS, FaultRun, fault_run
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.clock import SECOND

FAULTS = 16


class Faults:
    """Injects random faults into a run and its broker."""

    def __init__(self, run: FaultRun, broker: Broker, seed: int) -> None:
        self._run = run
        self._broker = broker
        self._random = random.Random(seed)
        self.log: list[str] = []

    async def one(self) -> None:
        faults: list[Callable[[], Awaitable[None]]] = [
            *(self.cut, self.cut, self.kill_connections, self.forget_scripts),
            *(self.kill_worker, self.freeze_worker, self.freeze_broker, self.refuse_connections),
        ]
        fault = self._random.choice(faults)
        self.log.append(fault.__name__)
        await fault()
        await self.pause()

    async def pause(self) -> None:
        await self._run.pause(self._random.random() / 2)

    async def cut(self) -> None:
        for member in self._run.members:
            if self._random.random() < 0.3:
                member.cut()

    async def kill_connections(self) -> None:
        await self._broker.cli("CLIENT", "KILL", "TYPE", self._random.choice(["normal", "pubsub"]))

    async def forget_scripts(self) -> None:
        await self._broker.cli("SCRIPT", "FLUSH")

    async def kill_worker(self) -> None:
        worker = self._random.choice(self._run.workers)
        await worker.kill()
        await self.pause()
        await worker.start()

    async def freeze_worker(self) -> None:
        worker = self._random.choice(self._run.workers)
        worker.freeze()
        await self.pause()
        worker.thaw()

    async def freeze_broker(self) -> None:
        self._broker.freeze()
        await self.pause()
        self._broker.thaw()

    async def refuse_connections(self) -> None:
        async with self._broker.closed() as send:
            await send("CLIENT KILL", "TYPE", "pubsub")
            await self.pause()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_combined_faults(seed: int) -> None:
    """Nothing is lost, doubled, reordered, or delivered to the wrong client.

    Volatile messages may be lost, but they are not doubled or reordered, and most arrive.
    """
    async with brokers.valkey() as broker, fault_run(broker.url, history=300) as run:
        for talker in run.members[::5]:
            run.publish_from(talker, [*talker.rooms, ""], event="others")
        run.publish_from(run.members[1], ROOMS[:3], event="both")
        for typist in run.members[2::5]:
            run.publish_from(typist, [*typist.rooms, ""], event="volatile")
        await run.flow(80)
        faults = Faults(run, broker, seed)
        for _ in range(FAULTS):
            await faults.one()
        await run.flow(160, 40)
        report = await run.settle()
    assert report.clean() and not any(run.gaps().values()), f"{faults.log}\n{report}"
    assert run.arrived(volatile=True) > 0.5, report
    assert report.slowest < 6 * SECOND, f"{faults.log}\n{report}"
