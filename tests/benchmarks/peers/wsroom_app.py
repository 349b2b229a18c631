"""wsroom as a user writes it, on plain uvicorn; WSROOM_REDIS_URL would join its workers."""

# mypy: ignore-errors
from itertools import count

from wsroom import Emitter, Limits, MemoryAdapter, Router, Socket, WSRoom

chat = Router()
numbers = count()
limits = Limits(frames=1_000_000, burst=1_000_000)  # clients send as fast as they can


@chat.on_connect()
async def on_connect(socket: Socket):
    others = int(socket.query.get("others", 0))
    if others:
        await socket.join(*(f"other-{next(numbers)}" for _ in range(others)))
    else:
        await socket.join("chat")


async def noti(emitter: Emitter, message):
    await emitter.to("chat").emit("noti", message)


@chat.on("echo")
async def echo(emitter: Emitter, message):
    await emitter.emit_to_sender("echo", message)


@chat.on("move")
async def move(emitter: Emitter, message):
    await emitter.to(message["room"]).emit_except_sender("move", message)


app = WSRoom(limits=limits)
app.include(chat)
app.on("noti")(noti)

without_history = WSRoom(MemoryAdapter(history=0), limits=limits)
without_history.include(chat)
without_history.on("noti")(noti)

concurrent = WSRoom(limits=limits)
concurrent.include(chat)
concurrent.on("noti", concurrent=True)(noti)
