"""Messages that cost much to check, on real uvicorn; another socket must not be affected."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
from pydantic import BaseModel

from tests.support.clock import SECOND
from tests.support.peers import Peer, peer
from tests.support.servers import serve
from wsroom import Emitter, Limits, WSRoom


class Circle(BaseModel):
    x: int
    y: int
    radius: int


class Line(BaseModel):
    x: int
    y: int
    to_x: int
    to_y: int


class Text(BaseModel):
    x: int
    y: int
    text: str


class Struct(msgspec.Struct):
    values: list[dict[str, list[int]]]


def shapes_app() -> WSRoom:
    app = WSRoom(limits=Limits(bad_frames=5))

    @app.on("draw")
    async def draw(emitter: Emitter, message: list[Circle | Line | Text]) -> None:
        raise AssertionError("nothing valid was sent")

    @app.on("struct")
    async def struct(emitter: Emitter, message: Struct) -> None:
        raise AssertionError("nothing valid was sent")

    @app.on("plain")
    async def plain(emitter: Emitter, message: list[dict[str, int] | list[int] | str]) -> None:
        raise AssertionError("nothing valid was sent")

    @app.on("echo")
    async def echo(emitter: Emitter, message: str) -> str:
        return message

    return app


LARGE: list[dict[str, int]] = [{}] * 20_000  # 60 kB, with 10 problems each in a union of three
COSTLY = json.dumps({"event": "draw", "message": LARGE}, separators=(",", ":"))


async def echo_until(client: Peer, done: asyncio.Event) -> float:
    """Send small requests without a pause; return the seconds of the slowest."""
    slowest = 0.0
    while not done.is_set():
        start = time.perf_counter()
        assert await client.request("echo", "hi") == "hi"
        slowest = max(slowest, time.perf_counter() - start)
    return slowest


async def test_a_costly_message_is_a_bad_frame(ws: str) -> None:
    """200,000 problems are one short answer, and after a few the socket is closed.

    Meanwhile another socket is served between any two of these frames.
    """
    async with (
        serve(shapes_app(), ws=ws) as server,
        peer(server) as good,
        peer(server) as bad,
    ):
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            echoing = tasks.create_task(echo_until(good, done))
            for _ in range(6):
                await bad.raw(COSTLY)
                frame = await bad.error("invalid_message")
                assert len(json.dumps(frame)) < 500
                (problem,) = frame["message"]["data"]
                assert problem["type"] == "too_many_errors" and problem["loc"] == []
            assert await bad.closed() == 1008
            done.set()
        assert echoing.result() < 3 * SECOND
        await good.request("echo", "still here")


async def test_other_invalid_messages_are_cheap(ws: str) -> None:
    """The checks of msgspec and of builtin types end at the first problem: no bad frames."""
    wrong: dict[str, Any] = {
        "draw": {"x": 1},
        "struct": {"values": [{"a": [1] * 20_000}, {"b": ["x"]}]},
        "plain": [[1] * 20_000, {"a": "x"}],
    }
    async with serve(shapes_app(), ws=ws) as server, peer(server) as client:
        for _ in range(4):
            for event, message in wrong.items():
                await client.send(event, message)
                frame = await client.error("invalid_message")
                assert len(frame["message"]["data"]) == 1
        assert await client.request("echo", "still here") == "still here"
