"""A run of the fault tests: workers in processes, clients that resume, publishers, and a report."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import math
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.checker import GAP, MESSAGE, Flaw, Membership, SentMessage, check, segments
from tests.faults.clients import Client, Record
from tests.support.clock import HOUR, SECOND, TICK, until
from tests.support.paths import ROOT
from tests.support.processes import Owned, free_port
from wsroom.timing import DEFAULT_TIMING, Timing

ROOMS = [f"room{number}" for number in range(10)]
PACE = SECOND / 20
"""Between the messages of one publisher."""

TRACEBACK = re.compile(r"[^\n]*\nTraceback.*\n(?:[ \n].*\n)*[^ \n].*")


class Worker(Owned):
    """One uvicorn, with one worker, on a port of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.port = free_port()
        command = (sys.executable, "-m", "uvicorn", "--app-dir", ROOT, "tests.faults.app:app")
        options = ("--port", str(self.port), "--no-access-log")
        super().__init__(folder / f"{self.port}.log", *command, *options, env=env)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def ready(self) -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return True

    async def status(self, path: str) -> int:
        """Return the status of an HTTP GET."""
        async with asyncio.timeout(5 * SECOND):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                return int((await reader.readline()).split()[1])
            finally:
                writer.close()


class Report(NamedTuple):
    """The result of a run."""

    flaws: list[Flaw]
    unanswered: list[str]
    """Requests without an answer, and clients that did not return to a room."""
    sent: int
    accepted: int
    delivered: int
    counts: Mapping[str, int]
    slowest: float
    tracebacks: list[str]
    """Tracebacks in the workers' logs, with the lines before them."""

    def clean(self) -> bool:
        """Whether no guarantee was broken, every request was answered, and no worker failed."""
        return not (self.flaws or self.unanswered or self.tracebacks)

    def kinds(self) -> dict[str, int]:
        return dict(Counter(flaw.kind for flaw in self.flaws))

    def __str__(self) -> str:
        lines = [
            f"{self.sent} sent, {self.accepted} accepted, {self.delivered} delivered",
            f"flaws: {self.kinds() or 'none'}; unanswered: {self.unanswered[:3] or 'none'}; "
            f"tracebacks: {len(self.tracebacks)}",
            f"the slowest answer took {self.slowest:.1f} s",
            ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())),
        ]
        for flaw in self.flaws[:12]:
            where = f"{flaw.membership.client} in {flaw.membership.room or 'the path'}"
            lines.append(f"  {flaw.kind}: {flaw.key} for {where}: {flaw.detail}")
        return "\n".join(lines + self.tracebacks[:3])


class FaultRun:
    """Workers, members and publishers, and the record of what they did."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers
        self.record = Record()
        self.members: list[Client] = []
        self.publishers: list[Client] = []
        self._publishing: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def urls(self) -> list[str]:
        return [worker.url for worker in self.workers]

    async def member(
        self,
        name: str,
        rooms: Sequence[str] = (),
        *,
        among: Sequence[Worker] = (),
        **options: Any,
    ) -> Client:
        """Add a member, on any worker or on one of `among`; return once it is in its rooms."""
        urls = [worker.url for worker in among or self.workers]
        client = Client(self.record, name, urls, rooms, **options)
        self.members.append(client)
        await client.start()
        return client

    async def publisher(self, name: str, rooms: Sequence[str] = ROOMS, event: str = "say") -> None:
        """Add a publisher to all rooms in turn; "@m1" sends to the socket of member m1 alone."""
        client = Client(self.record, name, self.urls)
        self.publishers.append(client)
        await client.start()
        self._publishing.append(asyncio.create_task(self._publish(client, rooms, event)))

    def publish_from(self, client: Client, rooms: Sequence[str], event: str = "say") -> None:
        """Let a member publish too: to these rooms in turn, or with "both" to all at once."""
        self._publishing.append(asyncio.create_task(self._publish(client, rooms, event)))

    async def _publish(self, client: Client, rooms: Sequence[str], event: str) -> None:
        for room in itertools.cycle(rooms):
            due = time.monotonic() + PACE
            await client.live.wait()
            if self._stopped:
                return
            if event == "both":
                await client.say("", event, rooms=rooms)
            else:
                await self._say(client, room, event)
            await asyncio.sleep(max(TICK, due - time.monotonic()))

    async def _say(self, client: Client, room: str, event: str = "say") -> SentMessage:
        if not room.startswith("@"):
            return await client.say(room, event)
        (listener,) = [member for member in self.members if f"@{member.name}" == room]
        return await client.say(room, "direct", to=listener.id or "ws:gone")

    async def flow(self, messages: int = 160, seconds: float = 20) -> None:
        """Wait until so many more messages are accepted; at full pace 160 a second."""
        enough = self.record.accepted + messages
        await until(lambda: self.record.accepted >= enough, seconds)

    async def pause(self, seconds: float) -> None:
        """Let a fault last for some time."""
        await asyncio.sleep(seconds * SECOND)

    async def settle(self, seconds: float = 15, late: float = 0) -> Report:
        """End the publishing, wait for the last message of every room at every member, and report.

        `late` is a parameter of `check`.
        """
        await self.stop_publishing()
        await self._last(seconds)
        return self.report(late)

    async def stop_publishing(self) -> None:
        """End the publishing; requests in flight are still answered."""
        self._stopped = True
        for client in self.publishers:
            client.live.set()  # a publisher that waits for a connection ends too
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=30 * SECOND)

    async def _last(self, seconds: float) -> None:
        """Send one message to each room, and wait until every member has it or a later gap."""
        last = Client(self.record, "last", self.urls)
        self.publishers.append(last)
        await last.start()
        rooms = {room for member in self.members for room in member.offsets} | {""}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * SECOND):
                for room in sorted(rooms):
                    await self._say_last(last, room, self.members)
                for member in self.members:
                    await self._say_last(last, f"@{member.name}", [member])

    async def _say_last(self, last: Client, room: str, members: Sequence[Client]) -> None:
        said = None
        while said is None or said.accepted is None:
            await last.live.wait()
            said = await self._say(last, room)
            await asyncio.sleep(TICK)
        for member in members:
            await until(functools.partial(self._has, member, said), HOUR)

    def _has(self, member: Client, said: SentMessage) -> bool:
        """Whether the member received the message or a later gap, or has left the room."""
        trace = self.record.traces.get(Membership(member.name, said.room), [])
        return not any(part.open for part in segments(trace)) or any(
            entry.key == said.key or (entry.kind == GAP and entry.time >= said.sent)
            for entry in reversed(trace)
        )

    def report(self, late: float = 0) -> Report:
        record = self.record
        absent = [
            f"{member.name} is not in {room}"
            for member in self.members
            for room in member.rooms
            if room not in member.offsets
        ]
        entries = itertools.chain.from_iterable(record.traces.values())
        logs = "".join(worker.log for worker in self.workers)
        return Report(
            check(record.sent, record.traces, late),
            record.unanswered + absent,
            len(record.sent),
            record.accepted,
            sum(entry.kind == MESSAGE for entry in entries),
            record.counts,
            record.slowest,
            TRACEBACK.findall(logs),
        )

    def arrived(self, *, volatile: bool) -> float:
        """Return the share of the messages that reached a member, of those that are volatile."""
        keys = {said.key for said in self.record.sent if said.volatile is volatile}
        seen = {entry.key for trace in self.record.traces.values() for entry in trace}
        return len(keys & seen) / len(keys)

    def gaps(self, since: float = 0) -> dict[Membership, int]:
        """How many gaps were reported to each member, in each room."""
        traces = self.record.traces.items()
        return {
            membership: sum(entry.kind == GAP and entry.time >= since for entry in trace)
            for membership, trace in traces
        }

    def recovery_time(self, since: float) -> float:
        """Seconds from `since` until every member received a later message, in every room."""
        sent = {said.key: said.sent for said in self.record.sent}
        back = 0.0
        for member in self.members:
            for room in member.rooms:
                trace = self.record.traces[Membership(member.name, room)]
                after = (entry.time for entry in trace if entry.key and sent[entry.key] > since)
                back = max(back, next(after, math.inf) - since)
        return back / SECOND

    async def stop(self) -> None:
        self._stopped = True
        for task in self._publishing:
            task.cancel()
        await asyncio.gather(*self._publishing, return_exceptions=True)
        await asyncio.gather(*(client.stop() for client in [*self.members, *self.publishers]))


@contextlib.asynccontextmanager
async def fault_run(
    url: str = "",
    *,
    workers: int = 2,
    members: int = 40,
    publishers: int = 8,
    adapter: str = "",
    names: str = "",
    timing: Timing = DEFAULT_TIMING,
    bans: Path | None = None,
    **options: Any,
) -> AsyncIterator[FaultRun]:
    """Start a run: every member is in one room or in two, and on the path.

    `adapter` names another adapter than RedisAdapter; `options` are the adapter's; `names` is a
    prefix of the clients' names; `timing` is that of the workers; `bans` is the
    folder that their guards read.
    """
    env = {"WSROOM_REDIS_URL": url} if url else {}
    env |= {"FAULTS_ADAPTER": adapter, "FAULTS_OPTIONS": json.dumps(options)}
    env |= {"FAULTS_TIMING": json.dumps(dataclasses.asdict(timing))}
    env |= {"FAULTS_BANS": str(bans)} if bans else {}
    with tempfile.TemporaryDirectory(prefix="wsroom-") as folder:
        running = FaultRun([Worker(Path(folder), env) for _ in range(workers)])
        try:
            await asyncio.gather(*(worker.start() for worker in running.workers))
            starts = [
                running.member(
                    f"{names}m{number}",
                    sorted({ROOMS[number % 10], ROOMS[number * 3 % 10]}),
                    patient=number % 4 == 0,
                )
                for number in range(members)
            ]
            await asyncio.gather(*starts)
            for number in range(publishers):
                await running.publisher(f"{names}p{number}", ROOMS[number:] + ROOMS[:number])
            if members and publishers:
                await running.publisher(f"{names}w", [f"@{names}m{n}" for n in range(members)])
            yield running
        finally:
            await running.stop()
            for worker in running.workers:
                worker.end()
