"""`socket.user`, `socket.session`, `socket.scope`, and their types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect

from tests.support.pages import load_app
from tests.support.peers import Peer
from tests.support.servers import program, serve
from wsroom import BlockingEmitter, BlockingSocket, Emitter, SetupError, Socket, WSRoom
from wsroom.testing import Refused, TestClient


@dataclass
class User:
    name: str


async def test_the_value_of_on_connect_is_the_user() -> None:
    """Handlers, guards and hooks get it, `async def` and `def`; it has its type there."""
    app = WSRoom()
    seen: list[User] = []

    @app.on_connect(path="*")
    async def know(socket: Socket) -> User:
        assert socket.user is None
        return User(socket.query["name"])

    @app.on_connect()
    async def greet(socket: Socket[User]) -> None:
        seen.append(socket.user)

    @app.on_join("chat")
    def guard(socket: BlockingSocket[User], room: str) -> None:
        seen.append(assert_type(socket.user, User))

    @app.on("name")
    async def name(emitter: Emitter[User]) -> str:
        assert_type(emitter.to("chat").socket.user, User)
        return assert_type(emitter.socket.user, User).name

    @app.on("blocking")
    def blocking(emitter: BlockingEmitter[User]) -> str:
        assert_type(emitter.to("chat").socket.user, User)
        return assert_type(emitter.socket.user, User).name

    @app.on("untyped")
    async def untyped(emitter: Emitter) -> Any:
        return assert_type(emitter.socket.user, Any).name

    @app.on_disconnect()
    async def end(socket: Socket[User], code: int) -> None:
        seen.append(assert_type(socket.user, User))

    async with TestClient(app) as client:
        a, b = [await client.connect(query={"name": name}) for name in ("ada", "bob")]
        assert await a.request("name") == await a.request("blocking") == "ada"
        assert await b.request("name") == await b.request("untyped") == "bob"
        await a.join("chat")
        await a.close()
    assert [user.name for user in seen] == ["ada", "bob", "ada", "ada", "bob"]


async def test_the_last_value_that_is_not_none_counts() -> None:
    """A function sees what those before it returned; 0 and "" are values."""
    app = WSRoom()
    seen: list[Any] = []
    for value in ("first", None, 0, None):

        @app.on_connect()
        def know(socket: BlockingSocket, value: Any = value) -> Any:
            seen.append(socket.user)
            return value

    @app.on("user")
    async def user(emitter: Emitter) -> Any:
        return emitter.socket.user

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("user") == 0
    assert seen == [None, "first", "first", 0]


@pytest.mark.parametrize("offered, status", [((), 403), (("wsroom.1",), 4403)])
async def test_false_refuses(offered: tuple[str, ...], status: int) -> None:
    """With 403, as in python-socketio; the functions after it are not called."""
    app = WSRoom()

    @app.on_connect()
    async def refuse(socket: Socket) -> bool:
        return False

    @app.on_connect()
    async def second(socket: Socket) -> None:
        pytest.fail("it was called")

    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect(subprotocols=offered)
        assert status in (caught.value.status, caught.value.close_code)


def asked_app() -> WSRoom:
    """An app that answers with what it knows of its socket."""
    app = WSRoom()

    @app.on("user")
    async def user(emitter: Emitter) -> Any:
        return getattr(emitter.socket.user, "display_name", emitter.socket.user)

    @app.on("session")
    def session(emitter: BlockingEmitter) -> dict[str, Any]:
        return dict(emitter.socket.session)

    @app.on("scope")
    async def scope(emitter: Emitter) -> list[Any]:
        scope = emitter.socket.scope
        with pytest.raises(TypeError, match="does not support item assignment"):
            scope["user"] = "mallory"  # type: ignore[index]
        return [scope["type"], scope["path"], scope["state"]["word"], scope.get("user")]

    return app


class Basic(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


async def test_middleware_around_the_app_sets_user_and_session() -> None:
    """Starlette's: the user without an on_connect that returns one, and the cookie's session."""
    rt = asked_app()

    @rt.on_connect(path="/own")
    async def own(socket: Socket) -> str:
        return f"own {socket.user.display_name}"

    @rt.on("user", path="/own")
    async def user(emitter: Emitter) -> Any:
        return emitter.socket.user

    def login(request: Request) -> PlainTextResponse:
        request.session["cart"] = 7
        return PlainTextResponse("in")

    app = Starlette(
        routes=[Route("/login", login), Mount("/rt", rt)],
        middleware=[
            Middleware(SessionMiddleware, secret_key="x"),
            Middleware(AuthenticationMiddleware, backend=Basic()),
        ],
    )
    async with serve(app) as server:
        async with httpx.AsyncClient() as http:
            await http.get(server.url("/login", "http"))
            headers = {"X-User": "ada", "Cookie": f"session={http.cookies['session']}"}
        async with connect(server.url("/rt/ws"), additional_headers=headers) as websocket:
            a = Peer(websocket)
            await a.expect("connected")
            assert await a.request("user") == "ada"
            assert await a.request("session") == {"cart": 7}
        async with connect(server.url("/rt/own"), additional_headers=headers) as websocket:
            a = Peer(websocket)
            await a.expect("connected")
            assert await a.request("user") == "own ada"


async def test_without_middleware_there_is_no_session() -> None:
    """The sentence names what is missing; the user is None."""
    app = asked_app()
    failed: list[BaseException] = []

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        failed.append(exc)

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("user") is None
        with pytest.raises(Refused, match="internal"):
            await a.request("session")
    assert isinstance(failed[0], SetupError)
    assert "wrap the app in Starlette's SessionMiddleware" in str(failed[0])


async def test_the_scope_is_the_handshakes_and_read_only() -> None:
    """A middleware of any kind can add to it."""
    inner = asked_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "state": {"word": "kept"}, "user": "ada"}
        await inner(scope, receive, send)

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("scope") == ["websocket", "/ws", "kept", "ada"]
        assert await a.request("user") == "ada"


EVALUATED = """
from wsroom import BlockingEmitter, BlockingSocket, Emitter, Socket, WSRoom

class User(str): ...

app = WSRoom()

@app.on_connect()
def know(socket: BlockingSocket[User]) -> User:
    return User("ada")

@app.on_open()
async def greet(emitter: Emitter[User]) -> None:
    await emitter.emit_to_sender("welcome", emitter.socket.user)

@app.on_disconnect()
async def end(socket: Socket[User], code: int) -> None: ...

@app.on("name")
def name(emitter: BlockingEmitter["User"]) -> str:
    return emitter.socket.user
"""


async def test_annotations_may_be_evaluated(tmp_path: Path) -> None:
    """Without `from __future__ import annotations`, on every version of Python."""
    (tmp_path / "app.py").write_text(EVALUATED)
    async with TestClient(load_app(tmp_path)) as client:
        a = await client.connect()
        assert await a.expect("welcome") == await a.request("name") == "ada"


async def test_type_parameters_need_no_package() -> None:
    """Only type checkers import typing_extensions."""
    block = "import sys; sys.modules['typing_extensions'] = None; import wsroom; wsroom.Socket[int]"
    async with program("-c", block) as run:
        assert await run.end() == 0, run.output


def test_parameters_cost_a_socket_nothing() -> None:
    """Sockets and emitters have no dictionary."""
    for cls in (Socket, Emitter):
        assert cls.__dictoffset__ == 0
