"""Functions of every form that the decorators accept; a type checker finds no error here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from wsroom import BlockingEmitter, BlockingSocket, Controller, Emitter, Router, Socket, WSRoom, on


class User(NamedTuple):
    name: str


app = WSRoom()
router = Router("/chat")


@app.on("plain")
async def plain(emitter: Emitter) -> None:
    await emitter.emit("plain")


@app.on("typed")
async def typed(emitter: Emitter[User], message: list[int]) -> int:
    assert emitter.socket.user.name
    return sum(message)


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
    @on("say")
    async def say(self, emitter: Emitter, message: str) -> None: ...

    @on("leave")
    def leave(self, emitter: BlockingEmitter) -> None: ...

    async def on_connect(self, socket: Socket) -> None: ...

    def on_joined(self, emitter: BlockingEmitter, room: str) -> None: ...


app.include(router, Chat())


async def still_callable(emitter: Emitter[User]) -> int:
    """The decorators return the function with its own type."""
    return await typed(emitter, [1])
