"""The app that the fault tests serve, in processes of their own."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from tests.faults.broken import BROKEN
from tests.faults.naive import NaiveAdapter
from wsroom import Adapter, Emitter, MemoryAdapter, RedisAdapter, Socket, WSRoom

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


def adapter() -> Adapter | None:
    """The adapter that the test asks for by its name; none is the app's own choice."""
    options: dict[str, Any] = json.loads(os.environ.get("FAULTS_OPTIONS", "{}"))
    url = os.environ.get("WSROOM_REDIS_URL", "")
    name = os.environ.get("FAULTS_ADAPTER", "")
    if name == "naive":
        return NaiveAdapter(url, **options)
    if name in BROKEN:
        return BROKEN[name](**options)
    if name == "memory":
        return MemoryAdapter(**options)
    return RedisAdapter(url, **options) if options else None


app = WSRoom(adapter())


@app.on_connect()
async def lobby(socket: Socket) -> None:
    """Join what the client's URL says, before it is connected."""
    if rooms := socket.query.get("rooms"):
        await socket.join(*rooms.split(","))


@app.on("say")
async def say(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to one room, or to the path where it is ""."""
    rooms = [message["room"]] if message["room"] else []
    await emitter.to(*rooms).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("both")
async def both(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to several rooms at once."""
    await emitter.to(*message["rooms"]).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("hush")
async def hush(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to everybody in a room but the sender."""
    target = emitter.to(*([message["room"]] if message["room"] else []))
    await target.emit_except_sender("said", {"by": message["by"], "n": message["n"]})


@app.on("whisper")
async def whisper(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to one socket."""
    await emitter.to(message["to"]).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("burst")
async def burst(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit `count` messages of `size` bytes, numbered from n on."""
    for n in range(message["n"], message["n"] + message["count"]):
        said = {"by": message["by"], "n": n, "bulk": "x" * message["size"]}
        await emitter.to(message["room"]).emit("said", said)
