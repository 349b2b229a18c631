"""Values in the names of rooms and in paths, by the types of their annotations."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import pytest

from wsroom import BlockingSocket, Controller, Emitter, Reject, Router, SetupError, Socket, WSRoom
from wsroom.testing import Refused, TestClient

ID = "0d5c9f3e-6c4b-4d8e-9a51-2f6f9f7b8a10"


async def test_a_guard_gets_values_of_its_types() -> None:
    """int, UUID, Literal and str; another value is `bad_room`, and the guard is not called."""
    app, got = WSRoom(), list[Any]()

    @app.on_join("board:{id}")
    async def board(socket: Socket, room: str, id: int) -> None:
        got.append(id)

    @app.on_join("doc:{id}:{part}")
    def doc(socket: BlockingSocket, room: str, part: Literal["text", 7], id: UUID) -> None:
        got.append((id, part))

    @app.on_join("any:{a}:{b}:{c}:{d}")
    async def any_(socket: Socket, room: str, a: str, b, c: Any, **rest: str) -> None:  # type: ignore[no-untyped-def]
        got.append((a, b, c, rest))

    @app.on_join("*")
    async def rest(socket: Socket, room: str) -> None:
        pytest.fail("another guard decides")

    right = ["board:5", "board:-7", "board:0", f"doc:{ID}:text", f"doc:{ID}:7", "any:1:2:3:4"]
    wrong = {
        "board:x": "'id' in the room's name must be an integer",
        "board:05": "'id' in the room's name must be an integer",
        "board:+5": "'id' in the room's name must be an integer",
        "board:\u0665": "'id' in the room's name must be an integer",
        "board:5.0": "'id' in the room's name must be an integer",
        f"board:{'9' * 20}": "'id' in the room's name must be an integer",
        f"doc:{ID.upper()}:text": "'id' in the room's name must be a UUID",
        f"doc:{ID.replace('-', '')}:text": "'id' in the room's name must be a UUID",
        "doc:x:text": "'id' in the room's name must be a UUID",
        f"doc:{ID}:images": "'part' in the room's name must be one of text, 7",
    }
    async with TestClient(app) as client:
        a = await client.connect()
        for room in right:
            await a.join(room)
        for room, detail in wrong.items():
            with pytest.raises(Refused) as refused:
                await a.join(room)
            assert (refused.value.code, refused.value.detail) == ("bad_room", detail)
        b = await client.connect(subprotocols=["wsroom.1.resume"])
        a.offsets["board:x"] = ""
        rooms = await b.resume(a)
        assert rooms["board:x"]["error"] == "bad_room" and "error" not in rooms["board:5"]
        await client.settle()
    assert got[:6] == [5, -7, 0, (UUID(ID), "text"), (UUID(ID), 7), ("1", "2", "3", {"d": "4"})]


async def test_the_values_of_a_path_have_its_types() -> None:
    """Declared by `path`, or by the annotation of an `on_connect`; others are 404."""
    app, got = WSRoom(), list[Any]()
    app.path("/t/{tenant}/{part}", tenant=int)

    @app.on_connect(path="/t/{tenant}/{part}")
    async def connect(socket: Socket, part: Literal["a", "b"]) -> None:
        got.append((dict(socket.path_params), part))

    @app.on_connect(path="/t/{tenant}/{part}")
    def another(socket: BlockingSocket, tenant: int, **rest: str) -> None:
        got.append((tenant, rest))

    @app.on_connect(path="*")
    async def every(socket: Socket) -> None:
        got.append(socket.path)

    @app.on("params")
    async def params(emitter: Emitter) -> dict[str, Any]:
        return dict(emitter.socket.path_params)

    app.add_handler("params", params, path="/t/{tenant}/{part}")
    app.add_handler("params", params, path="/{any}/{x}/{y}")
    async with TestClient(app) as client:
        a = await client.connect("/t/5/a")
        assert await a.request("params") == {"tenant": 5, "part": "a"}
        assert got == ["/t/5/a", ({"tenant": 5, "part": "a"}, "a"), (5, {"part": "a"})]
        for path in ("/t/x/a", "/t/05/a", "/t/5/c"):
            with pytest.raises(Refused) as refused:
                await client.connect(path)
            assert refused.value.status == 404
            with pytest.raises(Refused) as refused:
                await client.connect(path, subprotocols=["wsroom.1"])
            assert refused.value.close_code == 4404
            with pytest.raises(SetupError, match="no route serves"):
                app.to(path=path)
        await app.to(path="/t/5/a").emit("hi")
        assert await a.expect("hi") is None
        b = await client.connect("/x/5/a")
        assert await b.request("params") == {"any": "x", "x": "5", "y": "a"}
    assert len(got) == 4


async def test_routers_and_controllers_bring_the_types() -> None:
    """Of their paths, and of the arguments of their `on_connect`."""
    router = Router(path="/r/{id}")
    router.path("/r/{id}", id=UUID)

    @router.on_connect()
    async def connect(socket: Socket, id: UUID) -> str:
        return str(id)

    class Board(Controller):
        path = "/b/{id}"

        async def on_connect(self, socket: Socket, id: int) -> int:
            if id == 6:
                raise Reject("not yours")
            return id

        async def on_open(self, emitter: Emitter[int]) -> None:
            await emitter.emit_to_sender("user", emitter.socket.user)

    app = WSRoom()
    app.include(router, Board())
    async with TestClient(app) as client:
        await client.connect(f"/r/{ID}")
        a = await client.connect("/b/5")
        assert await a.expect("user") == 5
        for path, status in (("/r/5", 404), ("/b/x", 404), ("/b/6", 403)):
            with pytest.raises(Refused) as refused:
                await client.connect(path)
            assert refused.value.status == status


async def connects(socket: Socket, id: int) -> None: ...
async def of_float(socket: Socket, id: float) -> None: ...
async def of_other(socket: Socket, other: int) -> None: ...
async def guards(socket: Socket, room: str, id: float) -> None: ...


def test_what_cannot_be_registered() -> None:
    """Other types, unknown parameters, two types of one parameter, and parameters for "*"."""
    app = WSRoom()
    app.path("/t/{id}", id=str)
    other = "'id' of guards() is float; annotate it with str, int, UUID or a Literal of them"
    cases: list[tuple[Any, str]] = [
        (lambda: app.add_guard(guards, "x:{id}"), other),
        (lambda: app.path("/u/{id}", id=list), "{id} of '/u/{id}' is list; annotate it with"),
        (lambda: app.path("/u/{id}", name=int), "path '/u/{id}' has no parameter {name}"),
        (lambda: app.path("*", name=int), "path '*' is for hooks and middleware only"),
        (lambda: app.path("/t/{id}", id=Literal[1, None]), "is typing.Literal[1, None]; annotate"),
        (
            lambda: app.path("/t/{id}", id=int),
            "parameter {id} of '/t/{id}' must be a string, and also an integer",
        ),
        (lambda: app.on_connect("/t/{id}")(connects), "must be a string, and also an integer"),
        (lambda: app.on_connect("/v/{id}")(of_float), "'id' of of_float() is float"),
        (lambda: app.on_connect("/v/{id}")(of_other), "it may take (socket, id)"),
        (lambda: app.on_connect("*")(connects), "cannot be on_connect; it is called with (socket)"),
    ]
    for register, sentence in cases:
        with pytest.raises(SetupError) as raised:
            register()
        assert sentence in str(raised.value)
    router = Router()
    router.path("/t/{id}", id=int)
    with pytest.raises(SetupError, match="must be a string, and also an integer"):
        app.include(router)
