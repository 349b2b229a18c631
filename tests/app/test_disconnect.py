"""How a connection ends: by the client, the app, or a server that stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND, TICK, until
from tests.support.fakes import GatedAdapter, Owner
from tests.support.linked import TestClient
from tests.support.peers import peer
from tests.support.servers import serve
from wsroom import Emitter, Limits, Socket, WSRoom
from wsroom.asgi.types import Message
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.send_writer import SendWriter
from wsroom.testing import TestClient as PlainClient
from wsroom.timing import Timing


async def test_a_disconnect_is_noticed_during_a_second_long_handler(ws: str) -> None:
    """A client that disconnects then leaves its rooms long before the handler ends."""
    timing = Timing(read_beside_after=0.05, grace=HOUR)
    app = WSRoom(limits=Limits(handler_timeout=HOUR), _timing=timing)
    gates = [asyncio.Event() for _ in range(4)]
    begun: list[int] = []

    @app.on("work")
    async def work(emitter: Emitter, message: int) -> None:
        begun.append(message)
        await gates[message].wait()

    async with serve(app, ws=ws) as server:
        async with peer(server) as a:
            await a.join("chat")
            for number in range(3):
                await a.send("work", number)
            await until(lambda: begun == [0])
            gates[0].set()
            await until(lambda: begun == [0, 1])
            gates[1].set()
            await until(lambda: begun == [0, 1, 2])
            a.websocket.transport.abort()
        await until(lambda: not app._worker.hub.members)
        assert begun == [0, 1, 2]
        gates[2].set()


async def test_a_disconnect_is_noticed_behind_many_short_handlers(ws: str) -> None:
    """However many frames arrive at once, the disconnect behind them is noticed."""
    app = WSRoom(_timing=Timing(read_beside_after=0.05, grace=0.1))
    handled: list[int] = []
    ended = asyncio.Event()

    @app.on("work")
    async def work(emitter: Emitter, message: int) -> None:
        handled.append(message)
        await asyncio.sleep(TICK)

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        ended.set()

    async with serve(app, ws=ws) as server:
        async with peer(server) as a:
            for number in range(1000):
                await a.send("work", number)
            a.websocket.transport.abort()
        await asyncio.wait_for(ended.wait(), 5 * SECOND)
    assert 0 < len(handled) < 500 and handled == sorted(handled)


async def test_the_last_hooks_run_before_the_apps_lifespan_ends(ws: str) -> None:
    """A hook that needs the database can use it, however the server is stopped."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: WSRoom) -> AsyncIterator[None]:
        yield
        log.append("database closed")

    app = WSRoom(lifespan=lifespan)

    @app.on("work")
    async def work(emitter: Emitter) -> None:
        await asyncio.sleep(HOUR)

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        await asyncio.sleep(0)
        log.append("disconnect")

    async with serve(app, timeout_graceful_shutdown=1, ws=ws) as server, peer(server) as a:
        await a.send("work")
    assert log == ["disconnect", "database closed"]


async def test_a_socket_closed_while_it_is_accepted_is_closed() -> None:
    """An app must be able to close an older login at any moment."""
    adapter = GatedAdapter()
    app = WSRoom(adapter)
    sockets: list[Socket] = []

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        sockets.append(socket)

    async with TestClient(app) as client:
        connecting = asyncio.create_task(client.connect())
        await until(lambda: adapter.asked == [""])
        await sockets[0].close(4000, "elsewhere")
        adapter.gate.set()
        a = await connecting
        assert await a.closed() == 4000 and a.close_reason == "elsewhere"


async def test_a_send_that_breaks_ends_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    """It is closed with 1011, and the reason is logged."""
    app = WSRoom(_timing=Timing(grace=0.05))

    @app.on_open()
    async def on_open(emitter: Emitter) -> None: ...

    async with PlainClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        writer: Any = app._worker.hub.members[a.id]

        async def broken(message: Message) -> None:
            raise KeyError("a bug of the server's")

        writer._send = broken
        await app.to().emit("said", 1)
        await until(lambda: not app._worker.hub.members)
    assert "a frame could not be sent" in caplog.text and "is closed" in caplog.text


async def test_a_close_is_sent_by_a_socket_that_was_slow() -> None:
    """Queued frames are dropped; the close frame is sent."""
    flowing = asyncio.Event()
    sent: list[Any] = []
    owner = Owner()

    async def send(message: Message) -> None:
        await flowing.wait()
        sent.append(message.get("code"))

    writer = SendWriter("ws:1", "/ws", send, Outbox(1000), owner)
    writer.open(PreparedFrame(b"0"))
    for _ in range(20):
        writer.write(PreparedFrame(b"x" * 100))
    writer.close(4000, "")
    await asyncio.wait_for(owner.asked.wait(), 10 * SECOND)
    writer.drop()
    flowing.set()
    await until(lambda: sent == [4000])
    await writer.stop()
