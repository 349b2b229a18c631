"""Middleware around handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.clock import HOUR
from tests.support.linked import TestClient
from tests.support.peers import WAIT
from wsroom import (
    BlockingEmitter,
    Controller,
    Disconnect,
    Emitter,
    Limits,
    Reject,
    Router,
    Socket,
    WSRoom,
    on,
)
from wsroom.connection.dispatch import handle
from wsroom.testing import Refused
from wsroom.wire.protocol import Inbound

Call = Callable[[Any], Awaitable[Any]]


def logging(log: list[str], name: str) -> Callable[[Emitter, Any, Call], Awaitable[Any]]:
    """A middleware that logs its name before and after."""

    async def middleware(emitter: Emitter, message: Any, call: Call) -> Any:
        log.append(f"{name} {emitter.event}")
        try:
            return await call(message)
        finally:
            log.append(f"{name} end")

    return middleware


def echo_app() -> WSRoom:
    """An app with each kind of handler."""
    app = WSRoom()

    @app.on("echo")
    async def echo(emitter: Emitter, message: Any) -> Any:
        return message

    @app.on("blocking")
    def blocking(emitter: BlockingEmitter, message: Any) -> Any:
        assert isinstance(emitter, BlockingEmitter)
        assert threading.current_thread() is not threading.main_thread()
        return message

    @app.on("concurrent", concurrent=True)
    async def concurrent(emitter: Emitter, message: Any) -> Any:
        return message

    @app.on("short")
    async def short(emitter: Emitter) -> str:
        return "short"

    @app.on("short blocking")
    def short_blocking(emitter: BlockingEmitter) -> str:
        return "short"

    @app.on("*")
    async def rest(emitter: Emitter, message: Any) -> Any:
        return message

    return app


async def test_the_first_middleware_is_the_outermost() -> None:
    """Those of every path are outside the app's routers', those outside the path's own."""
    app, shop = WSRoom(), Router(path="/shop")
    log: list[str] = []

    @shop.on("buy")
    async def buy(emitter: Emitter, message: Any) -> Any:
        log.append("buy")
        return message

    shop.add_middleware(logging(log, "own"))
    shop.middleware()(logging(log, "inner"))
    shop.add_middleware(logging(log, "shop"), path="*")
    app.include(shop)
    app.middleware(path="*")(logging(log, "app"))
    app.add_middleware(logging(log, "elsewhere"))
    async with TestClient(app) as client:
        a = await client.connect("/shop")
        assert await a.request("buy", 5) == 5
    names = ["app", "shop", "own", "inner"]
    assert log == [
        *(f"{name} buy" for name in names),
        "buy",
        *(f"{name} end" for name in reversed(names)),
    ]


@pytest.mark.parametrize(
    "event", ["echo", "blocking", "concurrent", "short", "short blocking", "other"]
)
async def test_middleware_changes_the_message_and_the_reply(event: str) -> None:
    """Of every kind of handler; also of one that takes no message, and without an `id`."""
    app = echo_app()
    seen: list[Any] = []

    @app.middleware()
    async def around(emitter: Emitter, message: Any, call: Call) -> Any:
        assert type(emitter) is Emitter
        seen.append((emitter.event, message))
        return [await call({"was": message})]

    async with TestClient(app) as client:
        a = await client.connect()
        expected = "short" if event.startswith("short") else {"was": 1}
        assert await a.request(event, 1) == [expected]
        await a.emit(event, 2)
        await client.settle()
    assert seen == [(event, 1), (event, 2)]


async def test_middleware_may_not_call_the_handler() -> None:
    """What it returns is the reply."""
    app = echo_app()

    @app.middleware()
    async def cached(emitter: Emitter, message: Any, call: Call) -> Any:
        return "cached" if message == "known" else await call(message)

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("echo", "known") == "cached"
        assert await a.request("echo", "new") == "new"


async def test_middleware_may_catch_what_the_handler_raises(
    quiet: pytest.LogCaptureFixture,
) -> None:
    """Then the frame is answered as if the handler had returned."""
    app = WSRoom()

    @app.on("fail")
    def fail(emitter: BlockingEmitter) -> None:
        raise KeyError("x")

    @app.middleware()
    async def mending(emitter: Emitter, message: Any, call: Call) -> Any:
        try:
            return await call(message)
        except KeyError:
            return "mended"

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("fail") == "mended"


async def test_what_middleware_raises_is_answered_like_the_handlers() -> None:
    """`Reject`, any other exception, and `Disconnect`; the handler is not called."""
    app = WSRoom()
    raised: dict[str, BaseException] = {
        "reject": Reject("no", code="no"),
        "fail": KeyError("secret"),
        "disconnect": Disconnect(4001),
    }
    failed: list[Any] = []

    @app.on("*")
    async def handler(emitter: Emitter) -> None:
        pytest.fail("it was called")

    @app.middleware()
    async def raising(emitter: Emitter, message: Any, call: Call) -> Any:
        assert emitter.event is not None
        raise raised[emitter.event]

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        failed.append((emitter.event, exc))

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="no: no"):
            await a.request("reject")
        with pytest.raises(Refused, match="internal"):
            await a.request("fail")
        await a.emit("disconnect")
        assert await a.closed() == 4001
    assert failed == [("fail", raised["fail"])]


async def test_built_ins_and_hooks_have_no_middleware() -> None:
    """Only the app's own events."""
    app = echo_app()
    log: list[str] = []
    app.add_middleware(logging(log, "around"), path="*")
    for name in ("on_connect", "on_open", "on_disconnect"):
        app.add_hook(name, lambda *args: None)

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None: ...

    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.leave("chat")
        await a.request("resume", {"session": a.session, "rooms": {}})
        assert log == []
        await a.request("echo")
        assert log == ["around echo", "around end"]


async def test_middleware_and_handler_have_one_budget() -> None:
    """It is the handler's, and both are cancelled; concurrent ones as well."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))
    log: list[str] = []
    app.add_middleware(logging(log, "around"))

    @app.on("slow")
    @app.on("beside", concurrent=True)
    async def slow(emitter: Emitter) -> None:
        await asyncio.sleep(HOUR)

    async with TestClient(app, timeout=WAIT) as client:
        a = await client.connect()
        for event in ("slow", "beside"):
            with pytest.raises(Refused, match="timeout"):
                await a.request(event)
    assert log == ["around slow", "around end", "around beside", "around end"]


async def test_a_router_brings_the_middleware_of_a_controller() -> None:
    """A Controller is included in a Router with middleware of every path."""

    class Chat(Controller):
        path = "/chat"

        @on("say")
        async def say(self, emitter: Emitter, message: Any) -> Any:
            return message

    app, router = WSRoom(), Router()
    log: list[str] = []
    router.add_middleware(logging(log, "around"), path="*")
    router.include(Chat())
    app.include(router)
    async with TestClient(app) as client:
        a = await client.connect("/chat")
        assert await a.request("say", 1) == 1
    assert log == ["around say", "around end"]


async def test_a_path_without_middleware_calls_its_handlers_directly() -> None:
    """The coroutine of a frame is the handler's own, although another path has middleware."""
    app = echo_app()
    app.add_middleware(logging([], "around"), path="/other")
    kept: list[Any] = []

    @app.on("own")
    async def own(emitter: Emitter) -> None:
        kept.append(emitter.socket._connection)

    async with TestClient(app) as client:
        a = await client.connect()
        await a.request("own")
        coroutine: Any = handle(kept[0], Inbound("own", None, None))
        assert coroutine.cr_code is own.__code__
        coroutine.close()


async def test_middleware_has_the_user() -> None:
    """`emitter.socket` is the handler's."""
    app = echo_app()

    @app.on_connect()
    async def know(socket: Socket) -> str:
        return "ada"

    @app.middleware()
    async def admins(emitter: Emitter[str], message: Any, call: Call) -> Any:
        if emitter.socket.user != "admin":
            raise Reject("for admins")
        return await call(message)

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="for admins"):
            await a.request("echo")
