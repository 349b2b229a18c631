"""Handlers that are started while their frame is read behave as those that their task starts.

Every test runs on both ways: the link, and ASGI's `receive`.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from tests.support.clock import until
from tests.support.peers import WAIT, peer
from tests.support.servers import serve
from tests.support.streams import encode, raw_peer
from wsroom import Disconnect, Emitter, Reject, Socket, WSRoom

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

pytestmark = pytest.mark.parametrize("direct", [True, False], ids=["link", "receive"])


async def test_every_step_is_in_the_connections_context(direct: bool) -> None:
    """What `on_connect` or a handler sets is seen by all that the connection runs later."""
    app = WSRoom(direct=direct)
    seen: dict[str, list[str]] = {}
    tasks = set()

    def note(name: str, value: str = "") -> None:
        seen.setdefault(name, []).append(variable.get())
        tasks.add(asyncio.current_task())
        if value:
            variable.set(value)

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        note("connect", "connect")
        await socket.join("chat")

    @app.on("set")
    async def set_variable(emitter: Emitter, message: str) -> None:
        note("before", message)
        await asyncio.sleep(0)
        note("after")

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        note("fail")
        raise ValueError("wrong")

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        note("error")

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        note("left")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        note("disconnect")

    async with serve(app) as server:
        async with peer(server) as a:
            for value in ("one", "two"):
                await a.send("set", value, id=1)
                assert await a.expect("reply") is None
            await a.send("fail", id=2)
            assert (await a.expect("error"))["code"] == "internal"
        await until(lambda: "disconnect" in seen)
    assert variable.get() == "none"
    assert seen == {
        "connect": ["none"],
        "before": ["connect", "one"],
        "after": ["one", "two"],
        "fail": ["two"],
        "error": ["two"],
        "left": ["two"],
        "disconnect": ["two"],
    }
    assert len(tasks) == 1


async def test_frames_of_one_segment_are_handled_one_after_the_other(direct: bool) -> None:
    """Whether their handlers wait or not: the second starts when the first has ended."""
    app = WSRoom(direct=direct)
    trace: list[str] = []

    @app.on("say")
    async def say(emitter: Emitter, message: int) -> None:
        trace.append(f"{message} begins")
        for _ in range(message % 3):
            await asyncio.sleep(0)
        trace.append(f"{message} ends")

    count = 300
    async with serve(app) as server, raw_peer(server.url()) as a:
        frames = [b'{"event":"say","message":%d}' % number for number in range(count)]
        await a.send([b"".join(encode(0x81, frame) for frame in frames)])
        await until(lambda: len(trace) == 2 * count)
        await a.send([encode(0x88, b"\x03\xe8")])
        await a.end()
    assert trace == [f"{n} {what}" for n in range(count) for what in ("begins", "ends")]


@pytest.mark.parametrize("waits", [False, True])
async def test_exceptions_are_answered_and_nothing_is_held(direct: bool, waits: bool) -> None:
    """Another socket of the worker gets its messages, whatever this one's handlers raise."""
    app = WSRoom(direct=direct)

    @app.on("fail")
    async def fail(emitter: Emitter, message: str) -> None:
        await emitter.to("chat").emit("said", message)
        if waits:
            await asyncio.sleep(0)
        if message == "reject":
            raise Reject("not you", code="muted")
        if message == "exit":
            raise SystemExit(1)
        raise ValueError(message)

    async with serve(app) as server, peer(server) as bad, peer(server) as good:
        await good.join("chat")
        for message, code in (("reject", "muted"), ("exit", "internal"), ("value", "internal")):
            for number in range(3):
                await bad.send("fail", message, id=number)
                assert (await bad.expect("error"))["code"] == code
                assert await good.expect("said") == message
        await bad.send("joinRoom", "chat", id=9)
        assert (await bad.expect("reply"))["room"] == "chat"


@pytest.mark.parametrize("how", ["close", "raise"])
async def test_frames_after_a_close_are_not_handled(direct: bool, how: str) -> None:
    """They came in the same segment as the one whose handler closes the socket."""
    app = WSRoom(direct=direct)
    handled: list[object] = []
    codes: list[int] = []

    @app.on("say")
    async def say(emitter: Emitter, message: int) -> None:
        handled.append(message)
        if message == 2 and how == "close":
            await emitter.socket.close(4001, "enough")
        elif message == 2:
            raise Disconnect(4001, "enough")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        codes.append(code)

    async with serve(app) as server, raw_peer(server.url()) as a:
        frames = [b'{"event":"say","message":%d}' % number for number in range(6)]
        await a.send([b"".join(encode(0x81, frame) for frame in frames)])
        assert (await a.end()).code == 4001
        await until(lambda: codes)
    assert (handled, codes) == ([0, 1, 2], [4001])


@pytest.mark.parametrize("catches", [False, True])
async def test_a_handler_that_cancels_its_own_task(direct: bool, catches: bool) -> None:
    """The cancellation arrives at its next wait; one that is not caught ends the connection."""
    app = WSRoom(direct=direct)
    trace: list[str] = []

    @app.on("cancel")
    async def cancel(emitter: Emitter) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        trace.append("cancelled")
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            trace.append("caught")
            if not catches:
                raise
            task.uncancel()
        return "on"

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        trace.append("disconnect")

    async with serve(app) as server, peer(server) as a:
        await a.send("cancel", id=1)
        if catches:
            assert await a.expect("reply") == "on"
        else:
            await a.closed()
    expected = ["cancelled", "caught"]
    await until(lambda: len(trace) == 3)
    assert trace == [*expected, "disconnect"]


async def test_a_client_that_goes_while_its_handler_waits(direct: bool) -> None:
    """Its first wait is noticed like any other: it leaves its rooms, and the handler may end."""
    app = WSRoom(direct=direct)
    waiting, go_on = asyncio.Event(), asyncio.Event()
    trace: list[Any] = []

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        waiting.set()
        await go_on.wait()
        trace.append(sorted(emitter.socket.rooms))

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        trace.append(code)

    async with serve(app) as server:
        async with peer(server) as a:
            await a.join("chat")
            await a.send("slow")
            await asyncio.wait_for(waiting.wait(), WAIT)
        await until(lambda: not app._worker.hub.members)
        go_on.set()
        await until(lambda: len(trace) == 2)
    assert trace == [["chat"], 1000]
