"""Handles on rooms of the Python client, and the members of rooms with presence."""

from __future__ import annotations

from typing import Any

import wsroom.client
from tests.support.clock import until
from tests.support.servers import Server, serve
from wsroom import Emitter, Limits, MemoryAdapter, Socket, WSRoom
from wsroom.adapters import Room
from wsroom.client import ClientSocket
from wsroom.client.members import Members
from wsroom.wire.presence import Enter


def make_app(adapter: MemoryAdapter | None = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)

    @app.on_connect()
    async def connect(socket: Socket) -> None:
        if "room" in socket.query:
            await socket.join(socket.query["room"])

    @app.presence("board", grace=30)
    async def card(socket: Socket, room: str) -> dict[str, Any]:
        return {"id": socket.query["name"]}

    @app.on("say")
    async def say(emitter: Emitter, message: list[Any]) -> None:
        await emitter.to(message[0]).emit("said", message[1])

    @app.on("drop")
    async def drop(emitter: Emitter) -> None:
        await emitter.socket.close(1012)

    return app


def client(server: Server, query: str) -> ClientSocket:
    return wsroom.client.connect(f"{server.url()}?{query}", retry_after=0.01)


async def test_a_program_follows_the_members() -> None:
    """They come with the join, change with `presence`, and are right after a reconnect."""
    async with serve(make_app()) as server, client(server, "name=ann") as ann:
        board = ann.room("board")
        lists: list[list[Any]] = []
        board.on_members(lambda members: lists.append(sorted(each["id"] for each in members)))
        answer = await board.join()
        assert board.members == {"ann": {"id": "ann"}} and board.count == answer["count"] == 1
        async with client(server, "name=bob") as bob:
            await bob.join_room("board")
            await until(lambda: lists[-1] == ["ann", "bob"])
            await ann.emit("drop")
            await until(lambda: ann.state != "open")
            await bob.leave_room("board")
            await until(lambda: ann.state == "open" and lists[-1] == ["ann"])
            assert board.members.keys() == {"ann"}


async def test_a_room_is_left_with_its_last_handle() -> None:
    """Listeners of a handle are called for its room only, until it leaves."""
    app = make_app()
    async with serve(app) as server, client(server, "name=ann") as ann:
        one, two = ann.room("board"), ann.room("board")
        heard: list[tuple[str, Any]] = []
        one.on("said", lambda message, sender, room, time: heard.append(("one", message)))
        two.on("said", lambda message, sender, room, time: heard.append(("two", message)))
        await one.join()
        await ann.join_room("other")
        await ann.request("say", ["other", 1])
        await ann.request("say", ["board", 2])
        await until(lambda: len(heard) == 2)
        await one.leave()
        await one.leave()
        await ann.request("say", ["board", 3])
        await until(lambda: len(heard) == 3)
        assert heard == [("one", 2), ("two", 2), ("two", 3)]
        assert await app.to("board").count() == 1
        await two.leave()
        assert await app.to("board").count() == 0 and ann.rooms == {"other"}


async def test_a_long_list_is_asked_for() -> None:
    """In pages; over the limit there is a count only."""
    adapter = MemoryAdapter()
    steps = [Enter(f"ws:x.{n}", str(n), {"id": n, "text": "x" * 900}) for n in range(599)]
    await adapter.change_presence(Room("/ws", "board"), "ws:x", 1, steps, whole=False)
    app = make_app(adapter, limits=Limits(members=600))
    async with serve(app) as server, client(server, "name=ann") as ann:
        board = ann.room("board")
        await board.join()
        await until(lambda: len(board.members) == 600)
        async with client(server, "name=bob") as bob:
            await bob.join_room("board")
            await until(lambda: not board.members and board.count == 601)
            await bob.leave_room("board")
            await until(lambda: len(board.members) == 600)


async def test_a_room_of_on_connect_is_resumed() -> None:
    """Its `joinedRoom` has no offset: the one in `connected` stays."""
    app = make_app()
    async with serve(app) as server, client(server, "name=ann&room=board") as ann:
        board = ann.room("board")
        heard: list[Any] = []
        board.on("said", lambda message, sender, room, time: heard.append(message))
        resyncs: list[Any] = []
        ann.on_resync(resyncs.append)
        await app.to("board").emit("said", 1)
        await until(lambda: heard == [1])
        await ann.emit("drop")
        await until(lambda: ann.state != "open")
        await app.to("board").emit("said", 2)
        await until(lambda: heard == [1, 2] and ann.state == "open")
        assert resyncs == []


def test_members_apply_frames_twice() -> None:
    """Frames have final states."""
    mine = Members()
    mine.take({"count": 1, "members": [{"id": 1}]})
    frame = {"count": 2, "joined": [{"id": 2}], "left": [3], "changed": [{"id": 1, "x": 1}]}
    for _ in range(2):
        assert not mine.change(frame)
        assert mine.cards == {1: {"id": 1, "x": 1}, 2: {"id": 2}} and mine.count == 2
