"""examples/redis_workers: the chat in four processes."""

from __future__ import annotations

import contextlib

from websockets.asyncio.client import connect

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.paths import EXAMPLES
from tests.support.peers import WAIT, Peer
from tests.support.servers import program

CLIENTS = 16


async def test_four_workers_are_one_chat(valkey: Broker) -> None:
    """Messages of every worker reach all of them, in one order."""
    port = brokers.free_port()
    args = ("--app-dir", str(EXAMPLES / "redis_workers"), "--workers", "4", "--port", str(port))
    env = {"WSROOM_REDIS_URL": valkey.url}
    async with program("-m", "uvicorn", *args, "app:app", env=env) as server:
        for _ in range(4):
            await server.line("Application startup complete")
        async with contextlib.AsyncExitStack() as stack:
            peers = []
            for number in range(CLIENTS):
                url = f"ws://127.0.0.1:{port}/ws?name=n{number}"
                websocket = await stack.enter_async_context(connect(url, open_timeout=WAIT))
                one = Peer(websocket)
                one.id = (await one.expect("connected"))["id"]
                peers.append(one)
                await one.send("joinRoom", "lobby", id=0)
                while (await one.next()).get("id") != 0:
                    continue  # the list of people changes meanwhile
            assert len({one.id.partition(".")[0] for one in peers}) > 1
            for number, one in enumerate(peers):
                await one.send("say", {"room": "lobby", "text": str(number)})
            orders = [await said(one) for one in peers]
            assert sorted(orders[0], key=int) == [str(number) for number in range(CLIENTS)]
            assert orders == [orders[0]] * CLIENTS


async def said(one: Peer) -> list[str]:
    texts: list[str] = []
    while len(texts) < CLIENTS:
        frame = await one.next()
        if frame["event"] == "say":
            texts.append(frame["message"]["text"])
    return texts
