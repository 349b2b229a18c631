"""Functions that a type checker refuses in their decorator, each on a line with a comment.

`mypy --strict` reports an error on these lines, and on no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wsroom import BlockingEmitter, BlockingSocket, Controller, Emitter, Socket, WSRoom, on

app = WSRoom()


@app.on("socket")  # refused
async def socket_in_a_handler(socket: Socket, message: str) -> None: ...


@app.on("def")  # refused
def emitter_in_a_thread(emitter: Emitter, message: str) -> None: ...


@app.on("three")  # refused
async def three_arguments(emitter: Emitter, message: str, room: str) -> None: ...


@app.on("none")  # refused
async def no_argument() -> None: ...


@app.on_connect()  # refused
async def emitter_in_on_connect(emitter: Emitter) -> None: ...


@app.on_connect()  # refused
async def no_socket() -> None: ...


@app.on_connect("/t/{tenant}")  # refused
async def emitter_and_tenant(emitter: Emitter, tenant: int) -> None: ...


@app.on_connect()  # refused
def socket_in_a_thread(socket: Socket) -> None: ...


@app.on_open()  # refused
async def socket_in_on_open(socket: Socket) -> None: ...


@app.on_joined()  # refused
async def no_room(emitter: Emitter) -> None: ...


@app.on_left()  # refused
async def not_a_room(emitter: Emitter, room: int) -> None: ...


@app.on_disconnect()  # refused
async def not_a_code(socket: Socket, code: str) -> None: ...


@app.on_error()  # refused
async def one_exception(emitter: Emitter, exc: ValueError) -> None: ...


@app.on_join()  # refused
async def emitter_in_a_guard(emitter: Emitter, room: str) -> None: ...


@app.on_join()  # refused
def socket_of_a_guard_in_a_thread(socket: Socket, room: str) -> None: ...


@app.middleware()  # refused
def blocking_middleware(
    emitter: BlockingEmitter, message: object, call: Callable[[object], Awaitable[object]]
) -> None: ...


@app.page("/")  # refused
def not_html() -> bytes:
    return b""


class Chat(Controller):
    @on("say")  # refused
    async def say(self, socket: Socket, message: str) -> None: ...

    @on("shout")  # refused
    def shout(self, emitter: Emitter) -> None: ...


app.emits(str)  # refused
app.emits("said", str, "Somebody said something.")  # refused
app.on("say", raises=["muted"])  # refused


async def forgets_to_call_to(emitter: Emitter, blocking: BlockingSocket) -> None:
    await blocking.join("chat")  # refused
    await emitter.emit(1)  # refused
    await emitter.to(1).emit("said")  # refused
