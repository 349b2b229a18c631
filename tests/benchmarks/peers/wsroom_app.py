"""wsroom as a user writes it, on plain uvicorn with the memory adapter."""

# mypy: ignore-errors
from itertools import count

from wsroom import Emitter, Socket, WSRoom

app = WSRoom()
numbers = count()


@app.on_connect()
async def on_connect(socket: Socket):
    others = int(socket.query.get("others", 0))
    if others:
        await socket.join(*(f"other-{next(numbers)}" for _ in range(others)))
    else:
        await socket.join("chat")


@app.on("noti")
async def noti(emitter: Emitter, message):
    await emitter.to("chat").emit("noti", message)


@app.on("echo")
async def echo(emitter: Emitter, message):
    await emitter.emit_to_sender("echo", message)
