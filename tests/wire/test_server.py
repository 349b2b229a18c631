"""Real uvicorn, both of its WebSocket implementations, real clients."""

from __future__ import annotations

import pytest

from tests.support.peers import bare, peer
from tests.support.servers import serve
from wsroom import Emitter, WSRoom


def chat() -> WSRoom:
    app = WSRoom()

    @app.on("intro")
    async def intro(emitter: Emitter, message: object) -> str:
        await emitter.to("chat").emit_except_sender("intro", message)
        return "told"

    @app.on("noti")
    async def noti(emitter: Emitter, message: object) -> None:
        await emitter.to("chat").emit("noti", message)

    return app


async def test_two_clients_chat_in_a_room(ws: str, quiet: pytest.LogCaptureFixture) -> None:
    """The README's app: a sender does not receive its `intro`, but its own `noti`."""
    async with serve(chat(), ws=ws) as server, peer(server) as a, peer(server) as b:
        await a.join("chat")
        await b.join("chat")
        assert await a.request("intro", "hi") == "told"
        intro = {"event": "intro", "message": "hi", "sender": a.id, "room": "chat"}
        assert bare(await b.next()) == intro
        await b.send("noti", {"n": 1})
        noti = {"event": "noti", "message": {"n": 1}, "sender": b.id, "room": "chat"}
        assert bare(await a.next()) == noti
        assert bare(await b.next()) == noti
