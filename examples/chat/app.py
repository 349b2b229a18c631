# A chat: rooms, names, and notices of who joins, leaves and types. Its page is page.html.
# Run it with: uvicorn --app-dir examples/chat app:app
# Open http://127.0.0.1:8000 in two windows; http://127.0.0.1:8000/#garden is another room.

from __future__ import annotations

import re
from pathlib import Path

from wsroom import Emitter, Reject, Socket, WSRoom

app = WSRoom()


@app.page("/")
def page() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


@app.on_connect()
async def take_name(socket: Socket) -> None:
    name = " ".join(socket.query.get("name", "").split())
    if not 1 <= len(name) <= 24:
        raise Reject("A name has 1 to 24 characters.", status=400)
    socket.state["name"] = name


@app.on_join("*")
async def check_room(socket: Socket, room: str) -> None:
    if not re.fullmatch(r"[\w-]{1,32}", room):
        raise Reject("A room's name has 1 to 32 letters, digits and dashes.")


@app.on_joined()
async def joined(emitter: Emitter, room: str) -> None:
    await emitter.to(room).emit_except_sender("joined", emitter.socket.state["name"])


@app.on_left()
async def left(emitter: Emitter, room: str) -> None:
    await emitter.to(room).emit_except_sender("left", emitter.socket.state["name"])


@app.on("say")
async def say(emitter: Emitter, message: object) -> None:
    match message:
        case {"room": str(room), "text": str(text)} if room in emitter.socket.rooms:
            if not 1 <= len(text := text.strip()) <= 1000:
                raise Reject("A message has 1 to 1000 characters.", code="invalid_message")
            await emitter.to(room).emit("say", {"name": emitter.socket.state["name"], "text": text})
        case _:
            raise Reject("Send a room that you have joined, and a text.")


@app.on("typing")
async def typing(emitter: Emitter, room: object) -> None:
    if isinstance(room, str) and room in emitter.socket.rooms:
        name = emitter.socket.state["name"]
        await emitter.to(room).emit_except_sender("typing", name, volatile=True)


# Each page in the room sends a newcomer its name, so the server keeps no list of members.
@app.on("hello")
async def hello(emitter: Emitter, message: object) -> None:
    match message:
        case {"room": str(room), "to": str(id)} if room in emitter.socket.rooms:
            if re.fullmatch(r"ws:[!-~]{1,64}", id):
                here = {"name": emitter.socket.state["name"], "room": room}
                await emitter.to(id).emit("hello", here)
