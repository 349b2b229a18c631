"""A room whose sequence begins anew while a client comes back.

Its state is taken from Redis, as a failover, FLUSHALL or a restart without data would.
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


async def begin_anew(valkey: Broker, app: WSRoom, prefix: str, witness: Any) -> None:
    """One message in the epoch that ends, one in the next; `witness` has heard both."""
    await app.to().emit("said", OLD)
    await until(lambda: OLD in told(witness))
    await valkey.cli("DEL", RedisNames(prefix).channel(Room("/ws", "")))
    await app.to().emit("said", NEW)
    await until(lambda: NEW in told(witness))


def told(connection: Any) -> list[str]:
    """What a client was told, in order; messages by their text."""
    return [
        frame["message"] if frame["event"] == "said" else frame["event"]
        for frame in connection.frames
    ]


async def test_nothing_held_of_the_epoch_before_comes_after_the_reply(
    valkey: Broker, prefix: str
) -> None:
    """What cannot be recovered is not told in part."""
    app = make_app(valkey, prefix)
    async with TestClient(app, timeout=5 * SECOND) as client:
        gone, witness = await client.connect("/ws"), await client.connect("/ws")
        await app.to().emit("said", "before")
        await gone.expect("said")
        await gone.close()
        back = await client.connect("/ws", subprotocols=RESUME)
        await begin_anew(valkey, app, prefix, witness)
        rooms = await back.resume(gone)
        await client.settle()
        assert rooms[""]["recovered"] is False
        assert told(back) == ["connected", "reply"]


async def test_what_the_old_connection_heard_of_two_epochs_is_not_told_again(
    valkey: Broker, prefix: str
) -> None:
    """It was slower to end than the new one to begin."""
    app = make_app(valkey, prefix)
    async with TestClient(app, timeout=5 * SECOND) as client:
        gone = await client.connect("/ws")
        back = await client.connect("/ws", subprotocols=RESUME)
        await begin_anew(valkey, app, prefix, gone)
        await gone.close()
        rooms = await back.resume(gone)
        await client.settle()
        assert rooms[""]["recovered"] is True
        assert [text for text in told(gone) + told(back) if "epoch" in text] == [OLD, NEW]


async def test_a_live_room_keeps_its_order_through_a_resume(valkey: Broker, prefix: str) -> None:
    """Without the held start: what is let through before the reply passes nothing that is kept."""
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
        await begin_anew(valkey, app, prefix, witness)
        go_on.set()
        await resuming
        await client.settle()
        assert [what for what in told(back) if what != "reply"] == told(witness)
