"""The options of uvicorn, its other parents, and apps around: a link, or a reason in the log."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from tests.support.clock import until
from tests.support.peers import WAIT, peer
from tests.support.processes import eventually, free_port
from tests.support.servers import get, program, serve
from wsroom import Emitter, WSRoom

LINK = "frames are read from uvicorn"
NO_LINK = "frames go through ASGI's send"


def echo_app() -> WSRoom:
    app = WSRoom()

    @app.on("echo")
    async def echo(emitter: Emitter, message: object) -> object:
        return message

    return app


def way(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says about how frames come in."""
    messages = [record.getMessage() for record in caplog.records if record.name == "wsroom"]
    return [message for message in messages if message.startswith("frames ")]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "wsroom")
    return caplog


@pytest.mark.parametrize(
    "config",
    [
        {"http": "h11"},
        {"http": "httptools"},
        {"ws_per_message_deflate": False},
        {"ws_ping_interval": None},
        {"ws_max_size": 1000},
        {"root_path": "/proxy"},
        {"forwarded_allow_ips": "*"},
        {"interface": "asgi3"},
        {"server_header": False, "date_header": False, "headers": [("x-a", "b")]},
    ],
    ids=["h11", "httptools", "plain", "no-pings", "size", "root", "proxy", "asgi3", "headers"],
)
async def test_options_of_uvicorn(config: dict[str, Any], logged: pytest.LogCaptureFixture) -> None:
    """None of them keeps frames from being read by a link."""
    async with serve(echo_app(), **config) as server, peer(server) as a:
        assert await a.request("echo", "there and back") == "there and back"
    assert way(logged) == [LINK]


async def test_a_unix_socket(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    """`--uds`: a proxy on the same machine. There is no TCP to ask whether a client is gone."""
    path = str(tmp_path / "socket")
    async with serve(echo_app(), uds=path):
        async with unix_connect(path, "ws://app/ws") as websocket:
            await echoed(websocket)
    assert way(logged) == [LINK]


async def test_the_limit_of_connections(logged: pytest.LogCaptureFixture) -> None:
    """`--limit-concurrency` counts sockets as long as they are open, and not longer."""
    async with serve(echo_app(), limit_concurrency=3) as server:
        async with peer(server) as a, peer(server) as b:
            assert (await get(server, "/healthz"))[0] == 503
            for client in (a, b):
                assert await client.request("echo", 1) == 1
            b.websocket.transport.abort()
            await until(lambda: len(server.server_state.connections) == 1)
            assert (await get(server, "/healthz"))[0] == 200
            assert await a.request("echo", 2) == 2
        await until(lambda: not server.server_state.connections)
    assert way(logged) == [LINK]


def mounted_in_starlette(rt: WSRoom) -> Any:
    middleware = [Middleware(GZipMiddleware), Middleware(SessionMiddleware, secret_key="k")]
    return Starlette(routes=[Mount("/rt", rt)], middleware=middleware)


def mounted_in_fastapi(rt: WSRoom) -> Any:
    api = FastAPI(lifespan=rt.lifespan)
    api.add_middleware(GZipMiddleware)
    api.mount("/rt", rt)
    return api


def mounted_twice(rt: WSRoom) -> Any:
    outer = FastAPI()
    outer.mount("/rt", Starlette(routes=[Mount("/", rt)]))
    return outer


@pytest.mark.parametrize("mount", [mounted_in_starlette, mounted_in_fastapi, mounted_twice])
async def test_mounts(mount: Any, logged: pytest.LogCaptureFixture) -> None:
    """Starlette and FastAPI, and their middleware, wrap `send`, but not `receive`."""
    async with serve(mount(echo_app())) as server, peer(server, "/rt/ws") as a:
        assert await a.request("echo", "there and back") == "there and back"
    assert way(logged) == [LINK]


async def test_middleware_that_wraps_receive(logged: pytest.LogCaptureFixture) -> None:
    """It sees each frame, so frames take the ordinary way."""
    app, seen = echo_app(), []

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def counted() -> Any:
            message = await receive()
            seen.append(message["type"])
            return message

        await app(scope, receive if scope["type"] == "lifespan" else counted, send)

    async with serve(counting) as server, peer(server) as a:
        assert await a.request("echo", "there and back") == "there and back"
        assert seen == ["websocket.connect", "websocket.receive"]
    assert [line.partition(":")[0] for line in way(logged)] == [NO_LINK]


# -- in a process ---------------------------------------------------------------------------------

APP = """
import logging
from wsroom import WSRoom

logging.basicConfig(level=logging.INFO)
app = WSRoom()

@app.on("echo")
async def echo(emitter, message):
    return message
"""

UVICORN = ["-m", "uvicorn", "app:app", "--port", "{port}"]
GUNICORN = ["-m", "gunicorn", "app:app", "-b", "127.0.0.1:{port}", "--no-control-socket", "-k"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def open_socket(port: int) -> ClientConnection:
    """Connect as soon as a server listens."""

    async def connected() -> ClientConnection:
        return await connect(f"ws://127.0.0.1:{port}/ws", open_timeout=WAIT)

    websocket: ClientConnection = await eventually(connected)
    return websocket


async def echoed(websocket: ClientConnection) -> None:
    """Send a message, and assert that it comes back."""
    async with asyncio.timeout(WAIT):
        await websocket.send('{"event":"echo","message":"there and back","id":1}')
        answers = [json.loads(await websocket.recv()) for _ in range(2)]
    assert [answer["event"] for answer in answers] == ["connected", "reply"]
    assert answers[1]["message"] == "there and back"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([*UVICORN, "--log-level", "trace"], NO_LINK),  # the log of messages wraps `receive`
        ([*GUNICORN, "uvicorn_worker.UvicornWorker"], LINK),
        ([*GUNICORN, "asgi"], NO_LINK),  # gunicorn's own server
    ],
    ids=["trace", "gunicorn", "gunicorn-asgi"],
)
async def test_other_parents(args: list[str], says: str, folder: Path) -> None:
    """What reads the frames is in the log, and a message comes back, whoever runs uvicorn."""
    port = free_port()
    async with program(*(arg.format(port=port) for arg in args), cwd=folder) as server:
        async with await open_socket(port) as websocket:
            await echoed(websocket)
            await server.line(says)
    assert "Traceback" not in server.output


async def test_reload(folder: Path) -> None:
    """Clients are closed with 1012 when the app's file changes, and find the new one."""
    port = free_port()
    args = [arg.format(port=port) for arg in [*UVICORN, "--reload"]]
    async with program(*args, cwd=folder) as server:
        websocket = await open_socket(port)
        await echoed(websocket)
        await server.line(LINK)
        (folder / "app.py").write_text(APP + "# changed\n")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(websocket.recv(), WAIT)
        assert websocket.close_code == 1012
        async with await open_socket(port) as again:
            await echoed(again)
        await server.line(LINK)
