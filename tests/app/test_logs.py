"""Log lines: what they are about, and one line for each cause."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.support.peers import WAIT
from wsroom import AdapterError, Emitter, Limits, MemoryAdapter, Socket, WSRoom
from wsroom.adapters import Deliver
from wsroom.testing import Refused, TestClient

ABOUT = ("path", "room", "event", "socket_id", "worker")


def abouts(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[tuple[Any, ...]]:
    """What the lines of at least this level are about, each with its message first."""
    return [
        (record.getMessage(), {name: vars(record)[name] for name in ABOUT if name in vars(record)})
        for record in caplog.records
        if record.levelno >= level and record.name.startswith("wsroom")
    ]


async def test_lines_about_failures_say_whose(caplog: pytest.LogCaptureFixture) -> None:
    """As attributes of the record: the path, the room, the event, the socket and its worker."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise RuntimeError

    @app.on("wait")
    async def wait(emitter: Emitter) -> None:
        await emitter.socket.join("x", "y")
        await asyncio.Event().wait()

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        raise RuntimeError

    @app.on_left()
    async def left(emitter: Emitter, room: str) -> None:
        raise RuntimeError

    async with TestClient(app, timeout=WAIT) as client:
        a = await client.connect("/ws")
        for event in ("fail", "wait"):
            with pytest.raises(Refused):
                await a.request(event)
        with pytest.raises(Refused):
            await a.join("chat")
    of_socket = {"path": "/ws", "socket_id": a.id, "worker": a.id.partition(".")[0]}
    lines = abouts(caplog, logging.WARNING)
    assert lines[:3] == [
        ("the handler of 'fail' on /ws raised", {**of_socket, "event": "fail"}),
        ("the handler of 'wait' on /ws took too long", {**of_socket, "event": "wait"}),
        ("the guard of room 'chat' on /ws raised", {**of_socket, "room": "chat"}),
    ]
    assert set(map(str, lines[3:])) == {str(("on_left on /ws raised", of_socket))}


class Unavailable(MemoryAdapter):
    problem = "the broker is away"

    async def start(self, deliver: Deliver) -> None:
        raise AdapterError(self.problem)


async def test_one_cause_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """However many sockets are refused for it; another cause is another line."""
    adapter = Unavailable()
    app = WSRoom(adapter)
    app.add_hook("on_open", lambda emitter: None)
    client = TestClient(app)
    for problem in ("the broker is away", "the broker is full"):
        adapter.problem = problem
        for _ in range(3):
            with pytest.raises(Refused):
                await client.connect("/ws")
    assert abouts(caplog) == [
        (f"refused a socket on /ws: the broker is {problem}", {"path": "/ws"})
        for problem in ("away", "full")
    ]
