"""Handlers and hooks that are cancelled, or that raise CancelledError or SystemExit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import HOUR, SECOND, until
from tests.support.linked import TestClient
from tests.support.peers import WAIT
from wsroom import BlockingEmitter, Emitter, Limits, Socket, WSRoom
from wsroom.asgi.types import Message
from wsroom.testing import Refused
from wsroom.timing import Timing


async def cancelled_work() -> None:
    """Cancel a task and await it, as ordinary code does."""
    task = asyncio.create_task(asyncio.sleep(HOUR))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def test_a_cancelled_error_of_the_apps_own_is_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever hook raises it, the following hooks run."""
    app = WSRoom()
    log: list[str] = []

    @app.on_connect(path="/refused")
    async def on_connect(socket: Socket) -> None:
        await cancelled_work()

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        await cancelled_work()

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        log.append(f"left {room}")
        await cancelled_work()

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        log.append("disconnect")
        await cancelled_work()

    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect("/refused")
        assert caught.value.status == 500
        a = await client.connect()
        await a.join("a", "b")
        with pytest.raises(Refused, match="internal"):
            await a.request("fail")
        await a.close()
    assert log == ["left a", "left b", "disconnect"]
    assert [r.getMessage().split(" raised")[0] for r in caplog.records if r.exc_info] == [
        "on_connect on /refused",
        "on_error on /ws",
        "on_left on /ws",
        "on_left on /ws",
        "on_disconnect on /ws",
    ]


async def test_a_handler_cannot_outlive_its_socket_by_catching(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its cancellation is repeated until it has an effect."""
    timing = Timing(grace=0.05, cancel_again_every=0.05)
    app = WSRoom(limits=Limits(handler_timeout=0.05), _timing=timing)
    caught = 0
    ended = asyncio.Event()

    @app.on("stubborn")
    async def stubborn(emitter: Emitter) -> None:
        nonlocal caught
        while True:
            try:
                await asyncio.sleep(HOUR)
            except asyncio.CancelledError:
                caught += 1
                if caught == 3:
                    raise

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        ended.set()

    async with TestClient(app, timeout=20 * SECOND) as client:
        a = await client.connect()
        await a.emit("stubborn")
        await until(lambda: caught == 1)
        await a.close()
        assert ended.is_set() and caught == 3


async def test_a_cancellation_from_outside_does_not_lose_the_last_hook() -> None:
    """Neither while it waits for concurrent handlers, nor while on_left runs."""
    for where in ("tasks", "on_left"):
        app = WSRoom()
        log: list[str] = []
        gate = asyncio.Event()

        @app.on("work", concurrent=True)
        async def work(emitter: Emitter) -> None:
            try:
                await asyncio.sleep(HOUR)
            finally:
                log.append("work ended")  # noqa: B023

        @app.on_left()
        async def on_left(emitter: Emitter, room: str) -> None:
            log.append("left")  # noqa: B023
            await gate.wait()  # noqa: B023

        @app.on_disconnect()
        async def on_disconnect(socket: Socket, code: int) -> None:
            log.append("disconnect")  # noqa: B023

        async with TestClient(app) as client:
            a = await client.connect()
            await a.join("chat")
            if where == "tasks":
                await a.emit("work")
            a._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await until(lambda: "left" in log or where == "tasks")  # noqa: B023
            assert a._task is not None
            await asyncio.sleep(0)
            a._task.cancel()
            await asyncio.wait([a._task], timeout=WAIT)
            assert a._task.cancelled() and log[-1] == "disconnect"
            assert where != "tasks" or "work ended" in log
            client.connections.clear()


async def test_sys_exit_in_a_handler_is_one_clients_error(caplog: pytest.LogCaptureFixture) -> None:
    """It must not end the server for all clients."""
    app = WSRoom()

    @app.on("exit")
    async def leave(emitter: Emitter) -> None:
        sys.exit(3)

    @app.on("beside", concurrent=True)
    def beside(emitter: BlockingEmitter) -> None:
        sys.exit(3)

    async with TestClient(app) as client:
        a = await client.connect()
        for event in ("exit", "beside"):
            with pytest.raises(Refused, match="internal"):
                await a.request(event)


@pytest.mark.parametrize("when", ["start", "stop"])
async def test_sys_exit_in_a_lifespan_is_reported_to_the_server(when: str) -> None:
    """Otherwise the server would serve an app that has not started."""

    @contextlib.asynccontextmanager
    async def lifespan(app: WSRoom) -> AsyncIterator[None]:
        if when == "start":
            sys.exit("DATABASE_URL is missing")
        yield
        sys.exit("cannot stop")

    app = WSRoom(lifespan=lifespan)
    sent: list[str] = []
    inbox: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    with pytest.raises(SystemExit):
        await app({"type": "lifespan"}, receive, send)
    assert sent[-1] == (
        "lifespan.startup.failed" if when == "start" else "lifespan.shutdown.failed"
    )
