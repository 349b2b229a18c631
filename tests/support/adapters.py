"""Redis adapters for the tests: alone, and in a small app."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from wsroom import Emitter, Limits, RedisAdapter, WSRoom
from wsroom.adapters import Emission, Offset, Room
from wsroom.testing import TestClient

CHAT = Room("/ws", "chat")


def emission(text: str) -> Emission:
    """An emission to the room "chat"."""
    return Emission(CHAT, text.encode())


class Worker:
    """One worker's side of an adapter, and the texts that were delivered to it."""

    def __init__(self, url: str, prefix: str, **options: Any) -> None:
        self.adapter = RedisAdapter(url, prefix=prefix, **options)
        self.delivered: list[str] = []

    def deliver(self, emission: Emission, offset: Offset | None) -> None:
        self.delivered.append(emission.payload.decode() if emission.payload else emission.kind)


@contextlib.asynccontextmanager
async def started(*workers: Worker) -> AsyncIterator[None]:
    """Start the adapters; stop them after the body."""
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await worker.adapter.start(worker.deliver)
            stack.push_async_callback(worker.adapter.stop, worker.deliver)
        yield


def chat_app(adapter: RedisAdapter, limits: Limits | None = None) -> WSRoom:
    """An app that emits what a client says to the room that the client names."""
    app = WSRoom(adapter, limits=limits)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to(message["room"]).emit("said", message["text"])

    return app


async def assert_works(adapter: RedisAdapter) -> None:
    """Send one message through the adapter."""
    async with TestClient(chat_app(adapter)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        await a.request("say", {"room": "chat", "text": "hi"})
        assert await a.expect("said") == "hi"
