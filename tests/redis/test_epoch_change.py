"""Resuming in a room whose epoch changes meanwhile.

The test deletes the room's state, as a failover, FLUSHALL or a restart without data would.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.brokers import Broker
from tests.support.clock import SECOND, until
from wsroom import Emitter, RedisAdapter, Socket, WSRoom
from wsroom.adapters.redis.codec import RedisNames
from wsroom.testing import TestClient
from wsroom.wire.emission import Room

RESUME = ("wsroom.1.resume",)
OLD, NEW = "of the old epoch", "of the new epoch"


def make_app(valkey: Broker, prefix: str) -> WSRoom:
    app = WSRoom(RedisAdapter(valkey.url, prefix=prefix))

    @app.on("say", path="/ws")
    async def say(emitter: Emitter) -> None: ...

    return app


async def change_epoch(valkey: Broker, app: WSRoom, prefix: str, witness: Any) -> None:
    """Emit one message in the old epoch and one in the new; `witness` receives both."""
    await app.to().emit("said", OLD)
    await until(lambda: OLD in received(witness))
    await valkey.cli("DEL", RedisNames(prefix).channel(Room("/ws", "")))
    await app.to().emit("said", NEW)
    await until(lambda: NEW in received(witness))


def received(connection: Any) -> list[str]:
    """Events and texts of messages that a client received, in order."""
    return [
        frame["message"] if frame["event"] == "said" else frame["event"]
        for frame in connection.frames
    ]


async def test_nothing_held_of_the_epoch_before_comes_after_the_reply(
    valkey: Broker, prefix: str
) -> None:
    """A room that cannot be recovered is not replayed in part."""
    app = make_app(valkey, prefix)
    async with TestClient(app, timeout=5 * SECOND) as client:
        gone, witness = await client.connect("/ws"), await client.connect("/ws")
        await app.to().emit("said", "before")
        await gone.expect("said")
        await gone.close()
        back = await client.connect("/ws", subprotocols=RESUME)
        await change_epoch(valkey, app, prefix, witness)
        rooms = await back.resume(gone)
        await client.settle()
        assert rooms[""]["recovered"] is False
        assert received(back) == ["connected", "reply"]


async def test_what_the_old_connection_heard_of_two_epochs_is_not_told_again(
    valkey: Broker, prefix: str
) -> None:
    """The old connection ends after the new one began."""
    app = make_app(valkey, prefix)
    async with TestClient(app, timeout=5 * SECOND) as client:
        gone = await client.connect("/ws")
        back = await client.connect("/ws", subprotocols=RESUME)
        await change_epoch(valkey, app, prefix, gone)
        await gone.close()
        rooms = await back.resume(gone)
        await client.settle()
        assert rooms[""]["recovered"] is True
        assert [text for text in received(gone) + received(back) if "epoch" in text] == [OLD, NEW]


async def test_a_live_room_keeps_its_order_through_a_resume(valkey: Broker, prefix: str) -> None:
    """Without the resume subprotocol: live frames before the reply do not overtake held ones."""
    app = make_app(valkey, prefix)
    asked, go_on = asyncio.Event(), asyncio.Event()

    @app.on_join("slow")
    async def guard(socket: Socket, room: str) -> None:
        asked.set()
        await go_on.wait()

    async with TestClient(app, timeout=5 * SECOND) as client:
        witness, back = await client.connect("/ws"), await client.connect("/ws")
        message = {"rooms": {"": back.offsets[""], "slow": "x:1"}}
        resuming = asyncio.create_task(back.request("resume", message))
        await asked.wait()
        await change_epoch(valkey, app, prefix, witness)
        go_on.set()
        await resuming
        await client.settle()
        assert [what for what in received(back) if what != "reply"] == received(witness)
