"""The recipients of a message: rooms, unions, exclusions, the sender; the app as the sender."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.peers import WAIT, bare
from wsroom import (
    Emitter,
    MemoryAdapter,
    SetupError,
    WSRoom,
)
from wsroom.testing import TestClient, TestConnection

Act = Callable[[Emitter, Any], Awaitable[None]]


def acting(act: Act, **options: Any) -> WSRoom:
    """An app whose event `act` does `act`, on two paths and on a path with a parameter."""
    app = WSRoom(**options)
    for path in ("/ws", "/other", "/t/{tenant}"):
        app.add_handler("act", act, path=path)
    return app


async def heard(client: TestClient, *connections: TestConnection) -> list[list[Any]]:
    """Return the messages that each connection got, in order, once the app is idle."""
    await client.settle()
    return [
        [frame["message"] for frame in connection.frames if frame["event"] == "said"]
        for connection in connections
    ]


async def test_a_room_is_who_joined_it() -> None:
    """`to(room).emit` reaches only the room's members, including the sender if it is one."""

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b, c = [await client.connect() for _ in range(3)]
        await a.join("chat")
        await b.join("chat", "more")
        await a.emit("act", 1)
        await c.emit("act", 2)
        assert await heard(client, a, b, c) == [[1, 2], [1, 2], []]
        await b.leave("chat")
        await a.emit("act", 3)
        assert await heard(client, a, b, c) == [[1, 2, 3], [1, 2], []]
        frame = bare(a.frames[-1])
        assert frame == {"event": "said", "message": 3, "sender": a.id, "room": "chat"}


async def test_several_rooms_are_one_message_to_their_union() -> None:
    """A socket in several of them gets one copy, without their names."""

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.to("x").to("y", "x").emit("said", message)

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b, c = [await client.connect() for _ in range(3)]
        await a.join("x", "y")
        await b.join("y")
        await c.join("z")
        await a.emit("act", 1)
        assert await heard(client, a, b, c) == [[1], [1], []]
        assert b.frames[-1]["room"] is None


async def test_without_a_room_it_is_the_path() -> None:
    """`emit` without `to` reaches everybody on the path, no other path, and names no room."""

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.emit("said", message)

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b = await client.connect(), await client.connect()
        c = await client.connect("/other")
        await a.emit("act", 1)
        assert await heard(client, a, b, c) == [[1], [1], []]
        assert bare(b.frames[-1]) == {"event": "said", "message": 1, "sender": a.id, "room": None}


async def test_each_concrete_path_is_its_own_world() -> None:
    """Rooms of one tenant are not those of another."""

    async def act(emitter: Emitter, message: Any) -> None:
        assert emitter.socket.path_params == {"tenant": emitter.socket.path.split("/")[-1]}
        await emitter.to("chat").emit("said", message)

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b = await client.connect("/t/acme"), await client.connect("/t/umbrella")
        await a.join("chat")
        await b.join("chat")
        await a.emit("act", 1)
        assert await heard(client, a, b) == [[1], []]


async def test_the_sender_can_be_left_out_or_be_the_only_one() -> None:
    """`emit_except_sender` and `emit_to_sender`; the latter ignores rooms."""

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", "others")
        await emitter.to("chat").emit_to_sender("said", "you")
        await emitter.emit_except_sender("said", "path")

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b, c = [await client.connect() for _ in range(3)]
        await a.join("chat")
        await b.join("chat")
        await a.emit("act")
        assert await heard(client, a, b, c) == [["you"], ["others", "path"], ["path"]]
        assert a.frames[-1] == {"event": "said", "message": "you", "sender": a.id, "room": None}


async def test_a_socket_id_is_a_room_of_one() -> None:
    """An id works in `to` and in `except_`, on its own path only."""

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.to(message).emit("said", "you")
        await emitter.except_(message).emit("said", "not you")
        await emitter.to("chat", message).emit("said", "chat or you")

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b = await client.connect(), await client.connect()
        c = await client.connect("/other")
        await b.join("chat")
        await a.emit("act", b.id)
        told = ["you", "chat or you"]
        assert await heard(client, a, b, c) == [["not you"], told, []]
        assert b.frames[-2]["room"] == b.id
        await c.emit("act", b.id)
        assert await heard(client, a, b, c) == [["not you"], told, ["not you"]]


async def test_members_of_a_room_can_be_left_out() -> None:
    """`except_` applies to the sockets that are in the rooms at delivery."""

    async def act(emitter: Emitter, message: Any) -> None:
        target = emitter.to("chat").except_("muted").except_("away")
        await target.emit("said", 1)
        await emitter.socket.leave("muted")
        await target.emit("said", 2)
        await emitter.except_("away").emit_except_sender("said", 3)

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b, c = [await client.connect() for _ in range(3)]
        await a.join("chat", "muted")
        await b.join("chat", "away")
        await c.join("chat")
        await a.emit("act")
        assert await heard(client, a, b, c) == [[2], [], [1, 2, 3]]


async def test_an_emitter_is_immutable() -> None:
    """`to` and `except_` return new ones, so a later emit keeps its recipients."""

    async def act(emitter: Emitter, message: Any) -> None:
        room = emitter.to("chat")
        assert room is not emitter and room.socket is emitter.socket and room.event == "act"
        room.to("more").except_("chat")
        await room.emit("said", "room")
        await emitter.emit("said", "path")

    async with TestClient(acting(act), timeout=WAIT) as client:
        a, b, c = [await client.connect() for _ in range(3)]
        await a.join("chat")
        await b.join("more")
        await a.emit("act")
        assert await heard(client, a, b, c) == [["room", "path"], ["path"], ["path"]]


async def test_the_app_itself_emits_from_anywhere() -> None:
    """`app.to` works from a background task and before the first connection; `sender` is null."""
    app = acting(lambda emitter, message: asyncio.sleep(0))
    await app.to("chat").emit("said", "nobody is here yet")
    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect("/t/acme")
        await a.join("chat")
        await b.join("chat")
        await asyncio.create_task(app.to("chat").emit("said", {"n": 1}))
        await app.to(path="/t/acme").emit("said", 2)
        await app.to("chat").to(a.id).except_(a.id).emit("said", 3)
        assert await heard(client, a, b) == [[{"n": 1}], [2]]
        assert a.frames[-1]["sender"] is None


@pytest.mark.parametrize("path", ["/nowhere", "/t/{tenant}", "ws"])
def test_emitting_to_a_path_without_a_route_is_a_setup_error(path: str) -> None:
    """It would never reach a socket, and silently."""
    with pytest.raises(SetupError, match=r"no route serves|is a pattern"):
        acting(lambda emitter, message: asyncio.sleep(0)).to("chat", path=path)


@pytest.mark.parametrize(
    "wrong, error",
    [
        (lambda to: to.emit("joinRoom"), "'joinRoom' is part of the protocol"),
        (lambda to: to.emit("connected"), "'connected' is part of the protocol"),
        (lambda to: to.emit(""), "event '' is empty"),
        (lambda to: to.emit("x" * 65), "longer than 64"),
        (lambda to: to.emit("e", float("nan")), "contains NaN"),
        (lambda to: to.emit("e", "x" * 2**20), "at most 1048576 are allowed"),
        (lambda to: to.to("").emit("e"), "room '' is empty"),
        (lambda to: to.to("x" * 129).emit("e"), "longer than 128 bytes"),
        (lambda to: to.to("a\0").emit("e"), "control character"),
        (lambda to: to.to(5).emit("e"), "room 5 must be a string"),
        (lambda to: to.except_("").emit("e"), "room '' is empty"),
    ],
)
async def test_invalid_emits_raise_at_once(
    wrong: Callable[[Any], Awaitable[None]], error: str
) -> None:
    """The call raises ValueError."""
    app = acting(lambda emitter, message: asyncio.sleep(0))
    with pytest.raises(ValueError, match=error):
        await wrong(app.to())


async def test_apps_on_one_memory_adapter_are_workers_of_one_app() -> None:
    """They share rooms, each path and room in one order; other apps get nothing."""
    adapter = MemoryAdapter()

    async def act(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)
        await emitter.to(message).emit("said", "by id")

    one, two, apart = acting(act, adapter=adapter), acting(act, adapter=adapter), acting(act)
    async with TestClient(one) as first, TestClient(apart) as third:
        a, c = await first.connect(), await third.connect()
        async with TestClient(two) as second:
            b = await second.connect()
            for connection in (a, b, c):
                await connection.join("chat")
            await a.emit("act", b.id)
            assert await heard(second, a, b, c) == [[], [b.id, "by id"], []]
        await a.emit("act", a.id)
        assert await heard(first, a, c) == [["by id"], []]


async def test_a_loop_of_emits_lets_others_run() -> None:
    """Emitting waits for no socket, yet the event loop runs every now and then."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    app = acting(lambda emitter, message: asyncio.sleep(0))
    task = asyncio.create_task(tick())
    for number in range(1000):
        await app.to("chat").emit("said", number)
    task.cancel()
    assert ticks > 10


async def test_emitting_on_another_event_loop_is_an_error() -> None:
    """It would write to sockets from another thread."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    outcome: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(app.to("chat").emit("said"))
        except RuntimeError as exc:
            outcome.append(exc)

    async with TestClient(app):
        await asyncio.to_thread(elsewhere)
    assert "emit on the event loop that the app runs on" in str(outcome[0])


async def test_emitting_after_the_end_is_an_error() -> None:
    """A forgotten background task does not start the app again."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    async with TestClient(app):
        await app.to("chat").emit("said")
    with pytest.raises(RuntimeError, match="the app has stopped"):
        await app.to("chat").emit("said")
