"""The app that the fault tests serve, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from tests.faults.faulty_adapters import FAULTY
from tests.faults.plain_pubsub import PlainPubSubAdapter
from tests.support.clock import TICK
from wsroom import Adapter, Emitter, MemoryAdapter, RedisAdapter, Reject, Socket, WSRoom
from wsroom.adapters import PresenceAdapter
from wsroom.timing import Timing

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


timing = Timing(**json.loads(os.environ["FAULTS_TIMING"]))


def adapter() -> Adapter:
    """Return the adapter that the test names, or a RedisAdapter."""
    options: dict[str, Any] = json.loads(os.environ.get("FAULTS_OPTIONS", "{}"))
    url = os.environ.get("WSROOM_REDIS_URL", "")
    name = os.environ.get("FAULTS_ADAPTER", "")
    if name == "pubsub":
        return PlainPubSubAdapter(url, **options)
    if name in FAULTY:
        return FAULTY[name](**options)
    if name == "memory":
        return MemoryAdapter(**options)
    return RedisAdapter(url, _timing=timing, **options)


app = WSRoom(adapter(), _timing=timing)


@app.on_connect()
async def lobby(socket: Socket) -> None:
    """Join the rooms in the client's URL, before the handshake, and the room of its user."""
    if user := socket.query.get("user"):
        await socket.join(f"user:{user}")
    if rooms := socket.query.get("rooms"):
        await socket.join(*rooms.split(","))


async def guard(socket: Socket, room: str) -> None:
    """Refuse a user for whom there is a ban; take some time, so that a kick can come meanwhile."""
    banned = (Path(os.environ["FAULTS_BANS"]) / f"{socket.query.get('user')} {room}").exists()
    await asyncio.sleep(10 * TICK)
    if banned:
        raise Reject("banned")


if "FAULTS_BANS" in os.environ:
    app.add_guard(guard)


@app.on("say")
async def say(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to one room, or to the path if it is ""."""
    rooms = [message["room"]] if message["room"] else []
    await emitter.to(*rooms).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("both")
async def both(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to several rooms at once."""
    await emitter.to(*message["rooms"]).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("others")
async def others(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to everybody in a room except the sender."""
    target = emitter.to(*([message["room"]] if message["room"] else []))
    await target.emit_except_sender("said", {"by": message["by"], "n": message["n"]})


@app.on("volatile")
async def volatile(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit a message that may be lost to one room, or to the path."""
    rooms = [message["room"]] if message["room"] else []
    said = {"by": message["by"], "n": message["n"]}
    await emitter.to(*rooms).emit("said", said, volatile=True)


@app.on("direct")
async def direct(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit to one socket."""
    await emitter.to(message["to"]).emit("said", {"by": message["by"], "n": message["n"]})


@app.on("burst")
async def burst(emitter: Emitter, message: dict[str, Any]) -> None:
    """Emit `count` messages of `size` bytes, numbered from n on."""
    for n in range(message["n"], message["n"] + message["count"]):
        said = {"by": message["by"], "n": n, "bulk": "x" * message["size"]}
        await emitter.to(message["room"]).emit("said", said)


async def card(socket: Socket, room: str) -> dict[str, str]:
    """Show the members of one room to each other."""
    return {"id": socket.query["name"]}


if isinstance(app.adapter, PresenceAdapter):
    app.add_presence(card, "people", grace=0.5)
