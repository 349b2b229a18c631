"""Members that are taken out of rooms, while they join, resume and reconnect, through faults.

The workers share a folder with a file for each ban, which their guards read. A ban is written
first, then the member is taken out.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults.checker import Kick, check_kicks
from tests.faults.clients import Client, Lost, Refused
from tests.faults.run import ROOMS, FaultRun, fault_run
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.clock import TICK, until
from wsroom import AdapterError, AsyncPublisher

MEMBERS = 15
KICKS = 24
REFUSED = {"forbidden", "left"}


class Stubborn(Client):
    """Joins and leaves its rooms all the time; gives a room up once it is refused or taken out."""

    async def join(self, room: str) -> None:
        try:
            await super().join(room)
        except Refused as exc:
            if str(exc) not in REFUSED:
                raise
            self.forget(room)

    async def move(self, chance: random.Random) -> None:
        """Leave a room and join it again, or be cut off."""
        await asyncio.sleep(chance.random() * 40 * TICK)
        await self.live.wait()  # its record knows one join to a room at a time
        if chance.random() < 0.2:
            self.cut()
        elif self.rooms:
            room = chance.choice(self.rooms)
            with contextlib.suppress(Lost, Refused):
                await self.leave(room)
                await self.join(room)


class Moderator:
    """Bans members, and takes them out of rooms on all workers."""

    def __init__(self, publisher: AsyncPublisher, folder: Path) -> None:
        self._publisher = publisher
        self._folder = folder
        self.kicks: list[Kick] = []

    def ban(self, client: Client, room: str) -> None:
        (self._folder / f"{client.name} {room}").touch()

    async def leave(self, client: Client, room: str) -> None:
        """Call it until it is confirmed."""
        while True:
            with contextlib.suppress(AdapterError):
                await self._publisher.to(f"user:{client.name}").leave(room)
                break
            await asyncio.sleep(TICK)
        self.kicks.append(Kick(client.name, room, time.monotonic()))

    async def kick(self, client: Client, room: str) -> None:
        self.ban(client, room)
        await self.leave(client, room)


@contextlib.asynccontextmanager
async def moderated(
    broker: Broker, folder: Path, history: int = 300
) -> AsyncIterator[tuple[FaultRun, Moderator, list[Stubborn]]]:
    """Start a run whose members are known to the guards by their names."""
    async with (
        fault_run(broker.url, members=0, bans=folder, history=history) as run,
        AsyncPublisher(broker.url) as publisher,
    ):
        members = [Stubborn(run.record, f"m{n}", run.urls, rooms_of(n)) for n in range(MEMBERS)]
        for member in members:
            member.query = f"?user={member.name}"
            run.members.append(member)
        await asyncio.gather(*(member.start() for member in members))
        yield run, Moderator(publisher, folder), members


def rooms_of(number: int) -> list[str]:
    return [ROOMS[number % 10], ROOMS[(number + 3) % 10]]


async def test_kicks_race_with_joins_resumes_and_a_killed_worker(tmp_path: Path) -> None:
    """What was sent to a room after a kick was confirmed never reaches the member."""
    chance = random.Random(1)
    async with brokers.valkey() as broker, moderated(broker, tmp_path) as (run, moderator, members):
        await run.flow(40)
        todo = [(member, room) for member in members for room in member.rooms]
        todo = chance.sample(todo, KICKS)
        moving = [
            asyncio.create_task(move(member, random.Random(member.name))) for member in members
        ]

        async def kill() -> None:
            await run.workers[0].kill()
            await run.workers[0].start()

        killing = None
        for number, (member, room) in enumerate(todo):
            await moderator.kick(member, room)
            if number % 6 == 4:
                await broker.cli("CLIENT", "KILL", "TYPE", chance.choice(["normal", "pubsub"]))
            if number == KICKS // 2:
                killing = asyncio.create_task(kill())
            await asyncio.sleep(chance.random() * 20 * TICK)
        assert killing is not None
        await killing
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)
        for member in members:
            member.cut()
        await until(lambda: all(member.live.is_set() for member in members))
        await run.flow(80)
        report = await run.settle()
    assert report.clean(), str(report)
    assert not check_kicks(moderator.kicks, run.record.sent, run.record.traces)
    assert not [(member.name, room) for member, room in todo if room in member.offsets]
    raced = [f"{what}: {code}" for what in ("refused", "resume") for code in REFUSED]
    assert sum(run.record.counts[each] for each in raced), str(report)


async def move(member: Stubborn, chance: random.Random) -> None:
    while True:
        await member.move(chance)


async def test_a_kick_that_is_lost_with_the_history_holds(tmp_path: Path) -> None:
    """No worker hears it, and Redis is emptied: then the guards are asked again."""
    async with brokers.valkey() as broker, moderated(broker, tmp_path) as (run, moderator, members):
        await run.flow(40)
        banned = members[::3]
        rooms = {member.name: member.rooms[0] for member in banned}
        for worker in run.workers:
            worker.freeze()
        await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        for member in banned:
            await moderator.kick(member, rooms[member.name])
        await broker.cli("FLUSHALL")
        for worker in run.workers:
            worker.thaw()
        await until(lambda: not any(rooms[m.name] in m.offsets for m in banned))
        holds = time.monotonic()
        await run.flow(160)
        report = await run.settle()
    assert report.clean(), str(report)
    kicks = [kick._replace(confirmed=holds) for kick in moderator.kicks]
    assert not check_kicks(kicks, run.record.sent, run.record.traces)
    stay = [m for m in members if m not in banned]
    assert all(room in m.offsets for m in stay for room in m.rooms) and len(stay) == 10


async def test_a_kick_that_is_not_carried_out_is_detected(tmp_path: Path) -> None:
    """The check finds the messages that a member gets although it should be out."""
    async with brokers.valkey() as broker, moderated(broker, tmp_path) as (run, moderator, members):
        moderator.kicks.append(Kick(members[0].name, members[0].rooms[0], time.monotonic()))
        await run.flow(80)
        report = await run.settle()
    found = check_kicks(moderator.kicks, run.record.sent, run.record.traces)
    assert report.clean() and {flaw.kind for flaw in found} == {"leaked"}, str(report)
