"""python-socketio on uvicorn: the WebSocket transport and its rooms, with Redis or not."""

# mypy: ignore-errors
import os

import socketio

redis = socketio.AsyncRedisManager(os.environ["REDIS_URL"]) if "REDIS_URL" in os.environ else None
server = socketio.AsyncServer(async_mode="asgi", client_manager=redis, cors_allowed_origins="*")
app = socketio.ASGIApp(server)


@server.event
async def connect(sid, environ):
    await server.enter_room(sid, "chat")


@server.on("noti")
async def noti(sid, message):
    await server.emit("noti", message, room="chat")


@server.on("echo")
async def echo(sid, message):
    await server.emit("echo", message, to=sid)


@server.on("move")
async def move(sid, message):
    await server.emit("move", message, room=message["room"], skip_sid=sid)


@server.on("join")
async def join(sid, room):
    await server.enter_room(sid, room)
    await server.emit("joined", room, to=sid)


@server.on("leave")
async def leave(sid, room):
    await server.leave_room(sid, room)
    await server.emit("left", room, to=sid)
