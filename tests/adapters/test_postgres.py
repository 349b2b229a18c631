"""The adapter that docs/adapters.md shows, on a real PostgreSQL: its promises, and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.support.brokers import Postgres
from tests.support.brokers import postgres as run_postgres
from tests.support.clock import SECOND
from tests.support.pages import blocks, save
from tests.support.paths import DOCS
from tests.support.processes import eventually
from tests.support.servers import program
from wsroom import Adapter, AdapterError, Socket, WSRoom
from wsroom.testing import TestClient, TestConnection
from wsroom.testing.contract import HistoryContract

PAGE = DOCS / "adapters.md"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres() -> AsyncIterator[Postgres]:
    """A server on which the page's SQL has been run."""
    async with run_postgres() as server:
        [sql] = [block.text for block in blocks(PAGE) if block.file == "wsroom.sql"]
        await server.execute(sql)
        yield server


@pytest_asyncio.fixture
async def members(postgres: Postgres, tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Two workers of one app on the page's adapter, each with a member of the room `chat`."""
    save(PAGE, tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        members = []
        for _ in range(2):
            app = WSRoom(make_adapter(tmp_path, postgres.url))
            app.add_hook("on_connect", join)
            client = await stack.enter_async_context(TestClient(app, timeout=20 * SECOND))
            members.append(Member(app, client, await client.connect()))
        yield members


class Member(NamedTuple):
    """A worker, and a connection to it."""

    app: WSRoom
    client: TestClient
    connection: TestConnection

    async def emit(self, number: int) -> bool:
        """Emit a number to the room; return whether the adapter confirmed it."""
        try:
            await self.app.to("chat").emit("number", number)
        except AdapterError:
            return False
        return True

    async def numbers_until(self, last: int) -> list[int]:
        """Return the numbers that arrive, up to the last one."""
        found: list[int] = []
        while last not in found:
            found.append(await self.connection.expect("number"))
        return found

    async def resync_of(self, room: str) -> Any:
        """Wait until this room is reported as incomplete; return its offset."""
        while (message := await self.connection.expect("resync"))["room"] != room:
            pass
        return message["offset"]


async def join(socket: Socket) -> None:
    await socket.join("chat")


def make_adapter(folder: Path, url: str) -> Adapter:
    """Make the page's adapter from the file that the page names."""
    spec = importlib.util.spec_from_file_location("page", folder / "postgres_adapter.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    adapter = module.PostgresAdapter(url)
    assert isinstance(adapter, Adapter)
    return adapter


async def test_the_adapter_of_the_page_passes_the_contract(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Its files are saved as the page says; pytest finds the contract's tests, and they pass."""
    save(PAGE, tmp_path)
    env = {"POSTGRES_URL": postgres.url}
    async with program("-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path, env=env) as run:
        assert await run.end(60) == 0, run.output
    tests = sum(name.startswith("test_") for name in dir(HistoryContract))
    assert f"{tests} passed" in run.output


async def test_ended_connections_lose_nothing(postgres: Postgres, members: list[Member]) -> None:
    """What was confirmed arrives once, on both workers in one order, and without a `resync`."""
    one, two = members
    confirmed = []
    for number in range(90):  # fewer than the history keeps
        if number in (30, 60):
            assert await postgres.end_connections() >= 2
        if await members[number % 2].emit(number):
            confirmed.append(number)
    last = confirmed[-1]
    numbers = await one.numbers_until(last)
    assert numbers == await two.numbers_until(last)
    assert numbers == sorted(set(numbers)) and set(confirmed) <= set(numbers)
    for member in members:
        assert not [frame for frame in member.connection.frames if frame["event"] == "resync"]


async def test_a_late_worker_misses_nothing(postgres: Postgres, members: list[Member]) -> None:
    """Both workers hear of 150 messages only after the last one, and get them all."""
    one, two = members
    async with postgres.frozen("query LIKE 'LISTEN%'"):
        for number in range(150):
            assert await one.emit(number)
    for member in (one, two):
        assert await member.numbers_until(149) == list(range(150))
        assert not [frame for frame in member.connection.frames if frame["event"] == "resync"]


@pytest.mark.slow
async def test_a_frozen_server_fails_an_emit(postgres: Postgres, members: list[Member]) -> None:
    """An emit waits for 5 s, as the page says; afterwards the workers go on without a loss."""
    one, two = members
    async with postgres.frozen():
        began = asyncio.get_running_loop().time()
        with pytest.raises(AdapterError) as failure:
            await one.app.to("chat").emit("number", 1)
        assert failure.value.maybe_sent
        assert asyncio.get_running_loop().time() - began < 6 * SECOND
    await eventually(lambda: one.emit(2))
    numbers = await one.numbers_until(2)
    assert numbers == await two.numbers_until(2)
    assert numbers in ([2], [1, 2])


async def test_a_crash_of_the_server_is_reported(postgres: Postgres, members: list[Member]) -> None:
    """Its tables are empty then: members get `resync`, go on, and an old offset is refused."""
    one, two = members
    await one.emit(1)
    for member in members:
        assert await member.numbers_until(1) == [1]
    before = two.connection.offsets["chat"]
    await postgres.crash()
    offsets = {await member.resync_of("chat") for member in members}
    assert len(offsets) == 1 and before not in offsets
    await eventually(lambda: two.emit(2))
    for member in members:
        assert await member.numbers_until(2) == [2]
    new = await one.client.connect(subprotocols=["wsroom.1.resume"])
    answer = await new.request("resume", {"rooms": {"chat": before}})
    assert answer["rooms"]["chat"]["recovered"] is False
