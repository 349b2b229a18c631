"""Volatile messages: in order, at most once, in no history, and not for sockets that are behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.clock import SECOND
from wsroom import Adapter, BlockingEmitter, Emitter, MemoryAdapter, RedisAdapter, WSRoom
from wsroom.testing import TestClient, TestConnection


@pytest.fixture(params=["memory", "valkey"])
def adapter(request: pytest.FixtureRequest, prefix: str) -> Adapter:
    if request.param == "memory":
        return MemoryAdapter()
    broker: Broker = request.getfixturevalue("valkey")
    return RedisAdapter(broker.url, prefix=prefix)


def make_app(adapter: Adapter | None = None) -> WSRoom:
    app = WSRoom(adapter)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("type")
    async def type_(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("typing", message, volatile=True)

    @app.on("all kinds")
    async def all_kinds(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", "to a room", volatile=True)
        await emitter.to("chat", "other").emit("said", "to rooms", volatile=True)
        await emitter.emit("said", "to the path", volatile=True)
        await emitter.to(emitter.socket.id).emit("said", "to a socket", volatile=True)
        await emitter.emit_to_sender("said", "to the sender", volatile=True)

    @app.on("blocking")
    def blocking(emitter: BlockingEmitter) -> None:
        emitter.to("chat").emit("said", 1, volatile=True)
        emitter.to("chat").emit_except_sender("said", 2, volatile=True)
        emitter.emit_to_sender("said", 3, volatile=True)

    return app


def said(connection: TestConnection) -> list[Any]:
    """Return the messages, with the kinds of frames that are not plain live ones."""
    return [
        (frame["event"], frame["message"])
        for frame in connection.frames
        if frame["event"] in ("said", "typing")
    ]


async def test_they_come_in_order_and_without_an_offset(adapter: Adapter) -> None:
    """Mixed with other messages of the room; the sender is left out as with any message."""
    async with TestClient(make_app(adapter), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        for connection in (a, b):
            await connection.join("chat")
        for number in range(20):
            await a.request("say", number)
            await a.request("type", number)
        await a.request("say", "end")
        for connection in (a, b):
            while ("said", "end") not in said(connection):
                await connection.expect("said")
        both = [(event, n) for n in range(20) for event in ("said", "typing")]
        assert said(b) == [*both, ("said", "end")]
        assert said(a) == [*(("said", n) for n in range(20)), ("said", "end")]
        assert all(("offset" in f) == (f["event"] == "said") for f in b.frames[2:])


async def test_each_way_to_emit_can_be_volatile(adapter: Adapter) -> None:
    """To a room, several rooms, the path, a socket, the sender; from threads too."""
    async with TestClient(make_app(adapter), timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("all kinds")
        kinds = {"to a room", "to rooms", "to the path", "to a socket", "to the sender"}
        assert {await a.expect("said") for _ in kinds} == kinds
        await a.emit("blocking")
        assert {await a.expect("said") for _ in range(2)} == {1, 3}
        assert not [
            frame for frame in a.frames[1:] if frame["event"] != "reply" and "offset" in frame
        ]


async def test_they_are_not_replayed_and_push_nothing_out(adapter: Adapter) -> None:
    """After 150 of them the one real message is still there, and it alone is replayed."""
    async with TestClient(make_app(adapter), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        for connection in (a, b):
            await connection.join("chat")
        await b.close()
        await a.request("say", "real")
        for number in range(150):
            await a.request("type", number)
        again = await client.connect(subprotocols=["wsroom.1.resume"])
        answer = await again.resume(b)
        assert answer["chat"]["recovered"] is True
        assert said(again) == [("said", "real")]
        await a.request("type", "live")
        assert await again.expect("typing") == "live"


async def test_replayed_messages_have_their_time(adapter: Adapter) -> None:
    """In ms since the epoch; live messages have none."""
    async with TestClient(make_app(adapter), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        for connection in (a, b):
            await connection.join("chat")
        await b.close()
        for number in range(3):
            await a.request("say", number)
        again = await client.connect(subprotocols=["wsroom.1.resume"])
        await again.resume(b)
        await a.request("say", "live")
        await again.expect("said")
        while ("said", "live") not in said(again):
            await again.expect("said")
        frames = [frame for frame in again.frames if frame["event"] == "said"]
        times = [frame.pop("time", None) for frame in frames]
        assert times[-1] is None and times[:-1] == sorted(times[:-1])
        assert all(time > 1_500_000_000_000 for time in times[:-1])
        assert not [frame for frame in a.frames if "time" in frame]


async def test_they_pass_over_a_socket_that_catches_up(adapter: Adapter) -> None:
    """While its frames are held for a `resume` they are dropped, others are kept."""
    async with TestClient(make_app(adapter), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        for connection in (a, b):
            await connection.join("chat")
        await b.close()
        held = await client.connect(subprotocols=["wsroom.1.resume"])
        await client.app.to().emit("typing", "held", volatile=True)  # type: ignore[attr-defined]
        await client.app.to().emit("said", "kept")  # type: ignore[attr-defined]
        await a.expect("said")
        await held.resume(b)
        await held.expect("said")
        assert said(held) == [("said", "kept")]


class Broken(MemoryAdapter):
    """Keeps volatile emissions as if they were not volatile, as an older adapter does."""

    async def publish(self, emission: Any) -> None:
        offset = self._history.append(emission, asyncio.get_running_loop().time())
        for deliver in self._delivers:
            deliver(emission, offset)


async def test_an_adapter_that_keeps_them_changes_little() -> None:
    """The offset that it gives them is ignored, and they are not replayed."""
    async with TestClient(make_app(Broken()), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        for connection in (a, b):
            await connection.join("chat")
        await a.request("type", 1)
        await b.expect("typing")
        assert "offset" not in b.frames[-1]
        await b.close()
        await a.request("type", 2)
        again = await client.connect(subprotocols=["wsroom.1.resume"])
        await again.resume(b)
        assert said(again) == []
