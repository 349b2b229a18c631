"""Several functions for one hook, and hooks of every path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND, until
from tests.support.linked import TestClient
from tests.support.peers import WAIT
from wsroom import Disconnect, Emitter, Limits, Reject, Router, Socket, WSRoom
from wsroom.testing import Refused


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def hook(log: list[str], name: str, exc: Exception | None = None) -> Callable[..., Awaitable[None]]:
    """A function for any hook that logs its name, and then raises `exc`."""

    async def function(*args: Any) -> None:
        log.append(name)
        if exc is not None:
            raise exc

    return function


async def test_functions_of_a_hook_run_in_order() -> None:
    """Those of every path first, then the path's own, each in the order of registration."""
    app = WSRoom()
    log: list[str] = []
    names = ("on_connect", "on_open", "on_joined", "on_left", "on_disconnect")
    for name in names:
        app.add_hook(name, hook(log, f"{name} 3"))
        app.add_hook(name, hook(log, f"{name} 1"), path="*")
        app.add_hook(name, lambda *args, name=name: log.append(f"{name} 4"))
        app.add_hook(name, hook(log, f"{name} 2"), path="*")
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.close()
    assert log == [f"{name} {number}" for name in names for number in range(1, 5)]


async def test_one_function_authenticates_every_path() -> None:
    """Also the paths of routers, and those with parameters; unknown paths stay unknown."""
    app, shop = WSRoom(), Router(path="/shop")

    @shop.on("price")
    @app.on("price", path="/t/{tenant}")
    async def price(emitter: Emitter) -> int:
        return 5

    @app.on_connect(path="*")
    async def know(socket: Socket) -> None:
        if "user" not in socket.cookies:
            raise Reject(status=401)

    app.include(shop)
    async with TestClient(app) as client:
        for path, status in (("/shop", 401), ("/t/acme", 401), ("/ws", 404), ("/", 404)):
            with pytest.raises(Refused) as caught:
                await client.connect(path)
            assert caught.value.status == status
        for path in ("/shop", "/t/acme"):
            a = await client.connect(path, cookies={"user": "ada"})
            assert await a.request("price") == 5


async def test_a_routers_hook_is_called_on_its_own_paths_only() -> None:
    """After the app's; the other paths of the app have only the app's."""
    app, admin = WSRoom(), Router(path="/admin")
    log: list[str] = []
    app.add_hook("on_open", hook(log, "public"))
    admin.add_hook("on_open", hook(log, "admin own"))
    admin.add_hook("on_open", hook(log, "admin"), path="*")
    app.include(admin)
    app.add_hook("on_open", hook(log, "app"), path="*")
    async with TestClient(app) as client:
        await client.connect("/admin")
        await client.connect("/ws")
        await client.settle()
    assert log == ["app", "admin", "admin own", "app", "public"]


@pytest.mark.parametrize(
    ("exc", "status"),
    [(Reject(status=401), 401), (Disconnect(4000), 403), (KeyError("x"), 500)],
)
async def test_the_first_refusal_of_on_connect_ends_it(exc: Exception, status: int) -> None:
    """The functions after it are not called, and no other hook is."""
    app = WSRoom()
    log: list[str] = []
    for name, raised in (("first", None), ("second", exc), ("third", None)):
        app.add_hook("on_connect", hook(log, name, raised))
    app.add_hook("on_disconnect", hook(log, "disconnect"))
    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect()
        assert caught.value.status == status
    assert log == ["first", "second"]


async def test_closing_the_socket_in_on_connect_ends_it() -> None:
    """It is a refusal too."""
    app = WSRoom()
    log: list[str] = []

    @app.on_connect()
    async def close(socket: Socket) -> None:
        await socket.close(4000)

    app.add_hook("on_connect", hook(log, "second"))
    async with TestClient(app) as client:
        with pytest.raises(Refused, match="403"):
            await client.connect()
    assert log == []


async def test_all_functions_of_on_connect_have_one_budget(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second has what the first has left."""
    app = WSRoom(limits=Limits(handler_timeout=1 * SECOND))
    log: list[str] = []
    for number in range(3):

        @app.on_connect()
        async def slow(socket: Socket, number: int = number) -> None:
            log.append(f"begin {number}")
            await asyncio.sleep(0.6 * SECOND)
            log.append(f"end {number}")

    async with TestClient(app, timeout=WAIT) as client:
        with pytest.raises(Refused) as caught:
            await client.connect()
        assert caught.value.status == 500
    assert log == ["begin 0", "end 0", "begin 1"]
    assert errors(caplog) == ["on_connect on /ws was cancelled: it took too long"]


async def test_on_open_and_on_joined_stop_at_the_first_that_raises(
    quiet: pytest.LogCaptureFixture,
) -> None:
    """It is answered once."""
    app = WSRoom()
    log: list[str] = []
    for name in ("on_open", "on_joined"):
        app.add_hook(name, hook(log, f"{name} 1"))
        app.add_hook(name, hook(log, f"{name} 2", Reject(name)))
        app.add_hook(name, hook(log, f"{name} 3"))
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await client.settle()
        answers = [frame["message"]["detail"] for frame in a.frames if frame["event"] == "error"]
    assert answers == ["on_open", "on_joined"]
    assert log == ["on_open 1", "on_open 2", "on_joined 1", "on_joined 2"]


async def test_the_last_hooks_all_run_though_one_raises(caplog: pytest.LogCaptureFixture) -> None:
    """on_left and on_disconnect; each failure is logged."""
    app = WSRoom()
    log: list[str] = []
    for name in ("on_left", "on_disconnect"):
        app.add_hook(name, hook(log, f"{name} 1", KeyError("x")))
        app.add_hook(name, hook(log, f"{name} 2", Reject("too late")))
        app.add_hook(name, hook(log, f"{name} 3"))
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.leave("chat")
        await a.join("chat")
        await a.close()
    left = ["on_left 1", "on_left 2", "on_left 3"]
    assert log == [*left, *left, "on_disconnect 1", "on_disconnect 2", "on_disconnect 3"]
    assert errors(caplog) == ["on_left on /ws raised"] * 4 + ["on_disconnect on /ws raised"] * 2


async def test_all_functions_of_on_error_run(caplog: pytest.LogCaptureFixture) -> None:
    """They get the exception instead of the log; only their own failures are logged."""
    app = WSRoom()
    log: list[str] = []
    app.add_hook("on_error", hook(log, "first", RuntimeError("broken")), path="*")
    app.add_hook("on_error", hook(log, "second"))

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError("secret")

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="internal"):
            await a.request("fail")
    assert log == ["first", "second"]
    assert errors(caplog) == ["on_error on /ws raised"]


async def test_a_cancellation_from_outside_does_not_lose_a_function_of_on_disconnect() -> None:
    """The others run, then the connection's task ends as cancelled."""
    app = WSRoom()
    log: list[str] = []

    @app.on_disconnect()
    async def stuck(socket: Socket, code: int) -> None:
        log.append("stuck")
        await asyncio.sleep(HOUR)

    app.add_hook("on_disconnect", hook(log, "second"))
    async with TestClient(app) as client:
        a = await client.connect()
        a._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await until(lambda: log)
        assert a._task is not None
        a._task.cancel()
        await asyncio.wait([a._task], timeout=WAIT)
        assert a._task.cancelled() and log == ["stuck", "second"]
        client.connections.clear()
