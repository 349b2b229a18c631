"""Functions of every form that the decorators accept; a type checker finds no error here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from pydantic import BaseModel
from typing_extensions import TypedDict

from wsroom import BlockingEmitter, BlockingSocket, Controller, Emitter, Router, Socket, WSRoom, on


class User(NamedTuple):
    name: str


class Say(BaseModel):
    text: str


class Move(msgspec.Struct):
    card: int


@dataclass
class Point:
    x: int


class Options(TypedDict, total=False):
    loud: bool


app = WSRoom()
router = Router("/chat")


@app.on("plain")
async def plain(emitter: Emitter) -> None:
    await emitter.emit("plain")


@app.on("typed")
async def typed(emitter: Emitter[User], message: list[int]) -> int:
    assert emitter.socket.user.name
    return sum(message)


@app.on("model", raises={"muted": "You may not speak here."})
async def model(emitter: Emitter[User], message: Say) -> Say:
    await emitter.emit("said", Say(text=message.text))
    return message


@app.on("struct", concurrent=True)
async def struct(emitter: Emitter, message: Move | None) -> list[Move]:
    return [message] if message else []


@app.on("point")
def point(emitter: BlockingEmitter, message: Point) -> int:
    return message.x


@app.on("options")
async def options(emitter: Emitter, message: Options) -> Literal["loud", "quiet"]:
    return "loud" if message.get("loud") else "quiet"


app.emits("said", Say, doc="Somebody said something.")
app.emits("moved", list[Move], path="/t/{tenant}")
app.emits("typing")
app.path("/t/{tenant}", tenant=int)
router.emits("union", Say | None)


@app.on("in a thread")
def in_a_thread(emitter: BlockingEmitter, message: str) -> str:
    emitter.emit("done")
    return message


@app.on("optional")
async def optional(emitter: Emitter, message: str | None = None, *, times: int = 1) -> None: ...


@app.on("one")
@router.on("two")
async def two_events(emitter: Emitter, message: Any) -> None: ...


async def with_room(room: str, emitter: Emitter, message: str) -> None:
    await emitter.to(room).emit("said", message)


app.add_handler("partial", partial(with_room, "chat"))
app.on("lambda")(lambda emitter: None)


@app.on_connect()
async def connect(socket: Socket) -> User | None:
    return User("ada") if socket.query.get("token") else None


@app.on_connect("/t/{tenant}")
async def connect_tenant(socket: Socket, tenant: int) -> User:
    return User(str(tenant + socket.path_params["tenant"]))


@app.on_connect("/t/{tenant}")
def connect_tenant_blocking(socket: BlockingSocket, *, tenant: int = 0) -> None: ...


@app.on_connect("*")
def connect_blocking(socket: BlockingSocket[User]) -> bool:
    return True


@app.on_open()
async def opened(emitter: Emitter) -> None: ...


@app.on_joined()
@app.on_left()
async def moved(emitter: Emitter[User], room: str) -> None: ...


@app.on_disconnect()
async def gone(socket: Socket, code: int) -> None: ...


@app.on_disconnect()
def gone_blocking(socket: BlockingSocket, code: int) -> None: ...


@app.on_error()
async def failed(emitter: Emitter, exc: BaseException) -> None: ...


@app.on_join("order:{id}")
async def own_orders(socket: Socket[User], room: str, id: str) -> None: ...


@app.on_join("board:{id}:{part}")
async def boards(socket: Socket, room: str, id: int, part: Literal["cards", "chat"]) -> None: ...


@app.on_join("doc:{id}")
def documents(socket: BlockingSocket, room: str, id: UUID) -> None: ...


@app.on_join("file:{name}")
def files(socket: BlockingSocket, room: str, **values: str) -> None: ...


@app.middleware("*")
async def timed(
    emitter: Emitter, message: object, call: Callable[[object], Awaitable[object]]
) -> object:
    return await call(message)


@app.page("/")
def page() -> str:
    return "<p>"


@app.page("/async")
async def async_page() -> str:
    return "<p>"


class Chat(Controller):
    def __init__(self) -> None:
        self.emits("said", Say, doc="Somebody said something.")

    @on("say", raises={"muted": "You may not speak here."})
    async def say(self, emitter: Emitter, message: str) -> None: ...

    @on("leave")
    def leave(self, emitter: BlockingEmitter) -> None: ...

    async def on_connect(self, socket: Socket) -> None: ...

    def on_joined(self, emitter: BlockingEmitter, room: str) -> None: ...


app.include(router, Chat())


async def still_callable(emitter: Emitter[User]) -> int:
    """The decorators return the function with its own type."""
    said: Say = await model(emitter, Say(text="hi"))
    assert said.text
    return await typed(emitter, [1])
