"""What the adapter tells of Redis: its lag, what waits for it, the gaps that were filled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from tests.support import brokers
from tests.support.brokers import Broker, eventually
from tests.support.clock import QUICK, SECOND, until
from wsroom import Emitter, RedisAdapter, WSRoom
from wsroom.testing import TestClient


def chat(url: str) -> WSRoom:
    app = WSRoom(RedisAdapter(url, _timing=QUICK), _timing=QUICK)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    return app


@contextlib.asynccontextmanager
async def paused(broker: Broker) -> AsyncIterator[None]:
    """Redis answers nothing while the body runs."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


async def test_a_frozen_redis_shows_in_the_numbers() -> None:
    """Emissions wait, the lag grows, it is not up; afterwards all is as before."""
    async with brokers.valkey() as broker:
        app = chat(broker.url)
        async with TestClient(app, timeout=10 * SECOND) as client:
            a = await client.connect()
            await a.join("chat")
            await until(lambda: app._worker.hub.adapter.stats().lag)
            stats = app.stats()
            assert stats.adapter_up and stats.adapter_waiting == 0
            assert stats.adapter_lag is not None and stats.adapter_lag < QUICK.heartbeat_interval
            async with paused(broker):
                emitting = asyncio.create_task(app.to("chat").emit("said", 1))
                await until(lambda: not app.stats().adapter_up)
                stats = app.stats()
                assert stats.adapter_waiting == 1
                assert stats.adapter_lag is not None
                assert stats.adapter_lag > QUICK.heartbeat_interval / 2
            await asyncio.wait([emitting])
            emitting.exception()
            await until(lambda: app.stats().adapter_up and app.stats().adapter_waiting == 0)


async def test_a_gap_that_was_filled_is_counted() -> None:
    """What one worker missed while its subscription was away, and read afterwards."""
    async with brokers.valkey() as broker:
        one, other = chat(broker.url), chat(broker.url)
        async with TestClient(one) as here, TestClient(other) as there:
            a, b = await here.connect(), await there.connect()
            await a.join("chat")
            await b.join("chat")
            assert one.stats().gaps == {"filled": 0, "lost": 0}
            async with broker.closed() as send:
                first, *_ = await send("CLIENT LIST", "TYPE", "pubsub")
                await send("CLIENT KILL", "ID", first["id"])
                await asyncio.sleep(0)
                await a.emit("say", 1)
                await b.emit("say", 2)

            async def filled() -> bool:
                return one.stats().gaps["filled"] + other.stats().gaps["filled"] > 0

            await eventually(filled)
            assert one.stats().gaps["lost"] == other.stats().gaps["lost"] == 0
