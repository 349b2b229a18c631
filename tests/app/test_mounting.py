"""wsroom inside other apps and servers: Starlette, FastAPI, http=, hypercorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import connect

from tests.support.clock import SECOND
from tests.support.peers import WAIT, bare, peer
from tests.support.servers import get, program, serve
from wsroom import Emitter, SetupError, WSRoom
from wsroom.asgi.types import Message
from wsroom.testing import TestClient


def room_app(**options: Any) -> WSRoom:
    app = WSRoom(**options)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)

    @app.page("/")
    async def page() -> str:
        return "page"

    return app


def in_fastapi(rt: WSRoom, **options: Any) -> FastAPI:
    api = FastAPI(**options)

    @api.get("/emit/{text}")
    async def emit(text: str) -> str:
        await rt.to("chat").emit("said", text)
        return "emitted"

    @api.get("/thread/{text}")
    def emit_from_thread(text: str) -> str:
        from anyio import from_thread

        from_thread.run(rt.to("chat").emit, "said", text)
        return "emitted"

    api.mount("/rt", rt)
    return api


@pytest.mark.parametrize("with_lifespan", [False, True])
async def test_mounted_in_fastapi(with_lifespan: bool, quiet: pytest.LogCaptureFixture) -> None:
    """root_path counts, endpoints emit, and no lifespan is needed."""
    rt = room_app()
    options = {"lifespan": rt.lifespan} if with_lifespan else {}
    async with serve(in_fastapi(rt, **options)) as server:
        assert (await get(server, "/emit/early"))[1].json() == "emitted"
        async with peer(server, "/rt/ws") as a, peer(server, "/rt/ws") as b:
            await a.join("chat")
            await b.join("chat")
            await a.send("say", 1)
            assert await b.expect("said") == 1
            for path in ("/emit/x", "/thread/x"):
                await get(server, path)
                said = {"event": "said", "message": "x", "sender": None, "room": "chat"}
                assert bare(await a.next()) == said == bare(await b.next())
        assert (await get(server, "/rt/"))[1].text == "page"
        assert (await get(server, "/rt/ws"))[0] == 426
        assert (await get(server, "/rt/healthz"))[0] == 200
        with pytest.raises(Exception, match="HTTP 404"):
            async with connect(server.url("/rt/nowhere")):
                pass


@pytest.mark.parametrize("with_lifespan", [False, True])
async def test_a_lifespan_that_never_runs_is_logged(
    with_lifespan: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A mounted app's own lifespan, once, with what to do."""
    entered = []

    @contextlib.asynccontextmanager
    async def lifespan(app: WSRoom) -> AsyncIterator[None]:
        entered.append(app)
        yield

    rt = room_app(lifespan=lifespan)
    options = {"lifespan": rt.lifespan} if with_lifespan else {}
    async with serve(in_fastapi(rt, **options)) as server:
        for _ in range(2):
            async with peer(server, "/rt/ws"):
                pass
    logged = [r for r in caplog.records if "lifespan=rt.lifespan" in r.getMessage()]
    assert (len(logged), len(entered)) == ((0, 1) if with_lifespan else (1, 0))


async def test_mounted_in_starlette_under_a_root_path(quiet: pytest.LogCaptureFixture) -> None:
    """The path of routes and of `socket.path` is without root_path and mounts."""
    rt = room_app()

    @rt.on("where", path="/t/{tenant}")
    async def where(emitter: Emitter) -> list[Any]:
        return [emitter.socket.path, dict(emitter.socket.path_params)]

    app = Starlette(routes=[Mount("/rt", rt)])
    async with serve(app, root_path="/proxy") as server:
        async with peer(server, "/rt/t/acme") as a:
            assert await a.request("where") == ["/t/acme", {"tenant": "acme"}]
            await rt.to(path="/t/acme").emit("said", 1)
            assert await a.expect("said") == 1


async def test_the_app_behind_gets_its_lifespan() -> None:
    """A FastAPI app given as http= starts and stops with this one, and keeps its state."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("start")
        yield {"word": "kept"}
        log.append("stop")

    api = FastAPI(lifespan=lifespan)

    @api.get("/state", response_class=PlainTextResponse)
    async def state(request: Request) -> str:
        return str(request.state.word)

    app = room_app(http=api)
    async with serve(app) as server:
        assert log == ["start"]
        assert (await get(server, "/state"))[1].text == "kept"
        async with peer(server) as a:
            await a.join("chat")
    assert log == ["start", "stop"]


async def test_the_users_lifespan_may_emit() -> None:
    """It is entered when the app can emit, and left while it still can; its mapping is state."""
    log: list[Any] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: WSRoom) -> AsyncIterator[dict[str, int]]:
        await app.to("chat").emit("said", "up")
        log.append("up")
        yield {"answer": 42}
        await app.to("chat").emit("said", "down")
        log.append("down")

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        body = json.dumps(scope["state"]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with serve(room_app(lifespan=lifespan, http=behind)) as server:
        assert (await get(server, "/x"))[1].json() == {"answer": 42}
    assert log == ["up", "down"]


async def test_a_failed_start_is_a_refused_start(caplog: pytest.LogCaptureFixture) -> None:
    """The user's lifespan or the app behind may fail; everything that was started is stopped."""

    @contextlib.asynccontextmanager
    async def broken(app: Any) -> AsyncIterator[None]:
        if app is not None:
            raise KeyError("no database")
        yield

    for app in (room_app(lifespan=broken), room_app(http=FastAPI(lifespan=broken))):
        with pytest.raises(SetupError, match="no database"):
            async with TestClient(app):
                pass
        assert not app._worker.hub.running


async def test_a_failed_stop_is_reported() -> None:
    """The server gets `shutdown.failed`, and the adapter is stopped."""

    @contextlib.asynccontextmanager
    async def broken(app: Any) -> AsyncIterator[None]:
        yield
        raise KeyError("cannot stop")

    app = room_app(lifespan=broken)
    sent: list[Message] = []
    inbox: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.failed",
    ]
    assert not app._worker.hub.running


async def test_registering_after_the_start_is_a_setup_error() -> None:
    """Open connections would not use the new handler."""
    app = room_app()
    async with TestClient(app):
        with pytest.raises(SetupError, match="too late to register here: the app has started"):
            app.add_handler("late", lambda emitter: None)


async def test_an_unknown_scope_raises() -> None:
    """ASGI asks for an exception."""
    with pytest.raises(SetupError, match="unknown ASGI scope 'teapot'"):
        await room_app()({"type": "teapot"}, None, None)  # type: ignore[arg-type]


HYPERCORN = """
from wsroom import WSRoom, Reject

app = WSRoom()

@app.on("say")
async def say(emitter, message):
    await emitter.to("chat").emit("said", message)
    return "told"

@app.on_connect(path="/private")
async def refuse(socket):
    raise Reject("log in first", status=401)

@app.on("end")
async def end(emitter):
    await emitter.socket.close(4001, "bye")
"""


async def test_under_hypercorn(tmp_path: Path) -> None:
    """Another ASGI server: rooms, replies, refusals with their status, closes."""
    (tmp_path / "app.py").write_text(HYPERCORN)
    args = ("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:0")
    async with program(*args, cwd=tmp_path) as server:
        line = await server.line("Running on http://")
        port = line.split("127.0.0.1:")[1].split()[0]
        url = f"ws://127.0.0.1:{port}"
        with pytest.raises(Exception, match="HTTP 401"):
            async with connect(f"{url}/private", open_timeout=WAIT):
                pass
        with pytest.raises(Exception, match="HTTP 404"):
            async with connect(f"{url}/nowhere", open_timeout=WAIT):
                pass
        async with connect(f"{url}/ws", open_timeout=WAIT) as a:
            async with asyncio.timeout(20 * SECOND):
                assert json.loads(await a.recv())["event"] == "connected"
                await a.send('{"event":"joinRoom","message":"chat","id":1}')
                assert json.loads(await a.recv())["id"] == 1
                await a.send('{"event":"say","message":"hi","id":2}')
                frames = [json.loads(await a.recv()) for _ in range(2)]
                assert [frame["message"] for frame in frames] == ["hi", "told"]
                await a.send('{"event":"end"}')
                await a.wait_closed()
                assert (a.close_code, a.close_reason) == (4001, "bye")
        server.process.terminate()
        await server.end()
        assert "Traceback" not in server.output
