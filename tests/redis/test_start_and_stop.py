"""Starts that fail, stops at any moment, and starting again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import brokers
from tests.support.adapters import CHAT, Worker, assert_works, chat_app, emission, started
from tests.support.brokers import Broker
from tests.support.clock import QUICK, SECOND, until
from tests.support.servers import program
from wsroom import AdapterError, RedisAdapter, SetupError, WSRoom
from wsroom.adapters import Room
from wsroom.testing import TestClient


async def test_an_adapter_serves_one_app(valkey: Broker, prefix: str) -> None:
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    async with TestClient(chat_app(adapter)):
        with pytest.raises(SetupError, match="make one for each"):
            async with TestClient(chat_app(adapter)):
                raise AssertionError("it started")


async def test_it_starts_again(valkey: Broker, prefix: str) -> None:
    """On another event loop too, like an app at the top of a module in tests."""
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    await assert_works(adapter)
    await asyncio.to_thread(asyncio.run, assert_works(adapter))
    await assert_works(adapter)


APP = "from wsroom import WSRoom\napp = WSRoom()\napp.add_handler('say', lambda emitter: None)\n"


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_unreachable_redis_is_a_refused_start(tmp_path: Path, workers: int) -> None:
    """Within 5 s, with an error message, and the parent of several workers ends too."""
    (tmp_path / "app.py").write_text(APP)
    env = {"WSROOM_REDIS_URL": f"redis://:secret@127.0.0.1:{brokers.free_port()}"}
    args = ("-m", "uvicorn", "app:app", "--port", "0", "--workers", str(workers))
    async with program(*args, cwd=tmp_path, env=env) as server:
        line = await server.line("cannot be used")
        assert "Connect" in line and "secret" not in line
        await server.end()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
async def test_an_unreachable_redis_is_always_the_same_error(scheme: str, prefix: str) -> None:
    """An AdapterError, for every exception of redis-py."""
    worker = Worker(f"{scheme}://127.0.0.1:{brokers.free_port()}/0", prefix, _timing=QUICK)
    async with asyncio.timeout(QUICK.start_timeout + 2 * SECOND):
        with pytest.raises(AdapterError, match="cannot be used"):
            async with started(worker):
                raise AssertionError("it started")


async def test_a_join_that_a_stop_ends_leaves_nothing_behind(prefix: str) -> None:
    """The next start succeeds, and so does a join of the same room."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix)
        async with started(worker):
            await broker.kill()
            await until(lambda: not worker.adapter.healthy)
            joining = asyncio.create_task(worker.adapter.subscribe(CHAT))
            await until(lambda: worker.adapter._receiver and worker.adapter._receiver._progress)
        with pytest.raises(AdapterError, match="left meanwhile"):
            await joining
        await broker.start()
        async with started(worker):
            assert await worker.adapter.subscribe(CHAT)


async def test_a_stop_in_a_burst_ends_all_of_it(valkey: Broker, prefix: str) -> None:
    """All waiting emissions fail at once, and no connection is made for them."""
    worker = Worker(valkey.url, prefix)
    async with started(worker):
        emits = [asyncio.create_task(worker.adapter.publish(emission("x"))) for _ in range(2500)]
        await asyncio.sleep(0)
    async with asyncio.timeout(2 * SECOND):
        ends = await asyncio.gather(*emits, return_exceptions=True)
    assert all(end is None or isinstance(end, AdapterError) for end in ends)
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert "wsroom: Redis" not in names


async def test_a_stop_during_joins_leaves_no_task(valkey: Broker, prefix: str) -> None:
    """At any moment between the commands and their confirmations."""
    for step in range(60):
        worker = Worker(valkey.url, prefix)
        async with started(worker):
            rooms = [Room("/ws", f"{n}") for n in range(20)]
            joins = [asyncio.create_task(worker.adapter.subscribe(room)) for room in rooms]
            for _ in range(step % 30):
                await asyncio.sleep(0)
        assert "wsroom: Redis" not in [task.get_name() for task in asyncio.all_tasks()]
        await asyncio.gather(*joins, return_exceptions=True)


async def test_a_mounted_app_begins_anew_on_another_event_loop(valkey: Broker, prefix: str) -> None:
    """Each start makes its own connections, because the loop of the previous ones has ended."""
    app = WSRoom(RedisAdapter(valkey.url, prefix=prefix))
    app.add_handler("say", lambda emitter: None)

    async def emit() -> Any:
        await app.to("chat").emit("noti")

    for _ in range(3):
        await asyncio.to_thread(asyncio.run, emit())
