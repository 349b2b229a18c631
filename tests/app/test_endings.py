"""How sockets, handlers and apps end when something else ends at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND, TICK, until
from tests.support.fakes import Owner
from tests.support.peers import WAIT, peer
from tests.support.servers import serve
from wsroom import BlockingEmitter, BlockingSocket, Emitter, Limits, MemoryAdapter, Socket, WSRoom
from wsroom.adapters import Offset
from wsroom.asgi.types import Message
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.send_writer import SendWriter
from wsroom.testing import Refused, TestClient
from wsroom.timing import Timing
from wsroom.wire.emission import Room


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


async def test_the_last_hooks_run_before_the_apps_lifespan_ends() -> None:
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

    async with serve(app, timeout_graceful_shutdown=1) as server, peer(server) as a:
        await a.send("work")
    assert log == ["disconnect", "database closed"]


class SlowAdapter(MemoryAdapter):
    """Confirms a subscription when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked: list[str] = []

    async def subscribe(self, room: Room) -> Offset | None:
        if room.path:  # else it is the worker's own
            self.asked.append(room.name)
            await self.gate.wait()
        return None


async def test_a_socket_closed_while_it_is_accepted_is_closed() -> None:
    """An app must be able to close an older login at any moment."""
    adapter = SlowAdapter()
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


async def test_a_join_that_a_leave_overtook_has_no_effect() -> None:
    """The last request counts: on_joined does not run, and the socket is not in the room."""
    adapter = SlowAdapter()
    adapter.gate.set()
    app = WSRoom(adapter)
    log: list[str] = []

    @app.on("leave")
    async def leave(emitter: Emitter) -> None:
        await other[0].leave("chat")

    other: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        other.append(emitter.socket)

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        log.append("joined")

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        adapter.gate.clear()
        await a.emit("joinRoom", "chat", id=1)
        await until(lambda: "chat" in adapter.asked)
        await b.request("leave")
        adapter.gate.set()
        await client.settle()
        assert log == [] and other[0].rooms == frozenset()


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


async def test_a_send_that_breaks_ends_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    """It is closed with 1011, and the reason is logged."""
    app = WSRoom(_timing=Timing(grace=0.05))

    @app.on_open()
    async def on_open(emitter: Emitter) -> None: ...

    async with TestClient(app, timeout=10 * SECOND) as client:
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


async def test_def_hooks_behind_def_handlers_do_not_wait_for_each_other() -> None:
    """More handlers than threads, and each causes a hook that needs a thread too."""
    app = WSRoom()
    joined: list[str] = []

    @app.on("work")
    def work(emitter: BlockingEmitter) -> str:
        emitter.socket.join("chat")
        return "done"

    @app.on_joined()
    def on_joined(emitter: BlockingEmitter, room: str) -> None:
        joined.append(emitter.socket.id)

    async with TestClient(app, timeout=9 * SECOND) as client:
        clients = [await client.connect() for _ in range(70)]
        replies = await asyncio.gather(*(a.request("work") for a in clients))
        assert replies == ["done"] * 70 and len(set(joined)) == 70


async def test_def_on_disconnect_runs_though_handlers_hold_all_threads() -> None:
    """Exactly once for each socket."""
    app = WSRoom(limits=Limits(handler_timeout=0.2), _timing=Timing(grace=0.1))
    gate = threading.Event()
    ended: list[str] = []

    @app.on("stuck")
    def stuck(emitter: BlockingEmitter) -> None:
        gate.wait(60 * SECOND)

    @app.on_disconnect()
    def on_disconnect(socket: BlockingSocket, code: int) -> None:
        ended.append(socket.id)

    async with TestClient(app, timeout=10 * SECOND) as client:
        clients = [await client.connect() for _ in range(40)]
        for a in clients:
            await a.emit("stuck", id=1)
        for a in clients:
            assert (await a.expect("error"))["code"] == "timeout"
            await a.close()
        assert sorted(ended) == sorted(a.id for a in clients)
        gate.set()


async def test_an_on_error_that_hangs_times_out_too() -> None:
    """The time limit is for the frame, including on_error; the connection stays."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        await asyncio.sleep(HOUR)

    @app.on("next")
    async def following(emitter: Emitter) -> str:
        return "next"

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        with pytest.raises(Refused, match=r"timeout|internal"):
            await a.request("fail")
        assert await a.request("next") == "next"


async def test_an_id_is_answered_once() -> None:
    """A hook that runs late after the reply is answered without the id."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await asyncio.sleep(HOUR)

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.emit("joinRoom", "chat", id=7)
        assert (await a.receive())["id"] == 7
        error = await a.receive()
        assert error["message"]["code"] == "timeout" and "id" not in error


async def test_emitting_on_another_event_loop_is_an_error() -> None:
    """It would write to sockets from another thread."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    outcome: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(app.to("chat").emit("said"))
        except RuntimeError as exc:
            outcome.append(exc)

    async with TestClient(app):
        await asyncio.to_thread(elsewhere)
    assert "emit on the event loop that the app runs on" in str(outcome[0])


async def test_emitting_after_the_end_is_an_error() -> None:
    """A forgotten background task does not start the app again."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    async with TestClient(app):
        await app.to("chat").emit("said")
    with pytest.raises(RuntimeError, match="the app has stopped"):
        await app.to("chat").emit("said")


async def test_a_path_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A path with control characters matches no route."""
    app = WSRoom()

    @app.on_connect(path="/t/{name}")
    async def on_connect(socket: Socket) -> None:
        raise KeyError

    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect("/t/a\nERROR wsroom forged")
        assert caught.value.status == 404
    assert "forged" not in caplog.text


def test_a_rejection_takes_an_exception_for_its_sentence() -> None:
    """`raise Reject(exc)` works."""
    from wsroom import Reject

    assert Reject(ValueError("no such order")).detail == "no such order"
    assert json.dumps(Reject(5).detail) == '"5"'
