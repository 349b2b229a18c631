"""Leaving while a join is under way, and what the client is told when the app moves its socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.clock import until
from tests.support.fakes import GatedAdapter
from tests.support.linked import TestClient
from wsroom import AdapterError, Emitter, MemoryAdapter, SetupError, Socket, WSRoom
from wsroom.adapters import Offset, Past
from wsroom.testing import Refused, TestConnection
from wsroom.wire.emission import Room

RESUME = ("wsroom.1.resume", "wsroom.1")


class Slow(MemoryAdapter):
    """Subscribes to `chat`, and reads it, when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribing = asyncio.Event()
        self.reading = asyncio.Event()
        self.waiting: list[str] = []
        self.fails = False

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name == "chat":
            await self._wait("subscribe", self.subscribing)
        return await super().subscribe(room)

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        if room.name == "chat":
            await self._wait("read", self.reading)
        return await super().read(room, since, last)

    async def _wait(self, what: str, gate: asyncio.Event) -> None:
        self.waiting.append(what)
        await gate.wait()
        if self.fails:
            raise AdapterError("the broker does not answer")


class Rooms:
    """An app whose guard decides when the test allows it, and the sockets of its connections."""

    def __init__(self, adapter: MemoryAdapter | None = None) -> None:
        self.app = WSRoom(adapter)
        self.allow = asyncio.Event()
        self.asked: list[str] = []
        self.sockets: list[Socket] = []
        self.log: list[tuple[str, str]] = []
        self.app.add_guard(self._guard)
        self.app.add_hook("on_connect", self._on_connect)
        self.app.add_hook("on_joined", self._on_joined)
        self.app.add_hook("on_left", self._on_left)
        self.app.add_handler("leave", self._leave, concurrent=True)

    async def _on_connect(self, socket: Socket) -> None:
        self.sockets.append(socket)

    async def _guard(self, socket: Socket, room: str) -> None:
        self.asked.append(room)
        if room != "open":
            await self.allow.wait()

    async def _leave(self, emitter: Emitter, room: str) -> None:
        await self.sockets[0].leave(room)

    async def _on_joined(self, emitter: Emitter, room: str) -> None:
        self.log.append(("joined", room))

    async def _on_left(self, emitter: Emitter, room: str) -> None:
        self.log.append(("left", room))


async def test_a_leave_while_the_guard_decides_fails_the_join() -> None:
    """A kick from another task counts, although the socket is not in the room yet."""
    rooms = Rooms()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        await a.emit("joinRoom", "chat", id=1)
        await until(lambda: rooms.asked == ["chat"])
        await rooms.sockets[0].leave("other")
        await rooms.sockets[0].leave("chat")
        rooms.allow.set()
        error = await a.expect("error")
        assert (error["code"], error["event"]) == ("left", "joinRoom")
        assert rooms.sockets[0].rooms == frozenset() and rooms.log == []
        await a.join("chat")  # a later join is another one
        assert rooms.sockets[0].rooms == {"chat"} and rooms.log == [("joined", "chat")]


async def test_a_leave_of_another_room_does_not_count() -> None:
    """Only the room that is left is concerned."""
    rooms = Rooms()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        await a.emit("joinRoom", "chat", id=1)
        await until(lambda: rooms.asked == ["chat"])
        await rooms.sockets[0].leave("other")
        rooms.allow.set()
        assert (await a.expect("reply"))["room"] == "chat"


async def test_a_concurrent_handler_can_leave_while_the_guard_decides() -> None:
    """Of another socket, too; nothing is kept of it after the join."""
    rooms = Rooms()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        b = await client.connect()
        assert rooms.sockets[0].id == a.id
        await a.emit("joinRoom", "chat", id=1)
        await until(lambda: rooms.asked == ["chat"])
        await b.request("leave", "chat")
        rooms.allow.set()
        assert (await a.expect("error"))["code"] == "left"
        connection = rooms.sockets[0]._connection
        assert connection._asked is None  # type: ignore[attr-defined]


async def test_a_leave_while_a_resume_asks_guards_counts() -> None:
    """Also if that room's guard has decided, and another room's guard is being asked."""
    for left in ("open", "chat"):
        rooms = Rooms()
        async with TestClient(rooms.app) as client:
            a = await client.connect(subprotocols=RESUME)
            offsets = {"open": "x", "chat": "x"}
            await a.emit("resume", {"rooms": offsets}, id=1)
            await until(lambda: rooms.asked == ["open", "chat"])  # noqa: B023
            await rooms.sockets[0].leave(left)
            rooms.allow.set()
            answers = (await a.expect("reply"))["rooms"]
            assert answers[left] == {"error": "left"}
            (other,) = offsets.keys() - {left}
            assert answers[other]["recovered"] is False
            assert rooms.sockets[0].rooms == {other} and rooms.log == [("joined", other)]


async def test_a_leave_while_the_broker_confirms_fails_the_join() -> None:
    """The client is told `left`, not `unavailable`; in a resume too."""
    for event in ("joinRoom", "resume"):
        adapter = Slow()
        rooms = Rooms(adapter)
        rooms.allow.set()
        async with TestClient(rooms.app) as client:
            a = await client.connect()
            message = "chat" if event == "joinRoom" else {"rooms": {"chat": "x"}}
            await a.emit(event, message, id=1)
            await until(lambda: adapter.waiting)  # noqa: B023
            await rooms.sockets[0].leave("chat")
            adapter.subscribing.set()
            if event == "joinRoom":
                assert (await a.expect("error"))["code"] == "left"
            else:
                assert (await a.expect("reply"))["rooms"] == {"chat": {"error": "left"}}
            assert rooms.sockets[0].rooms == frozenset()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_leave_while_a_resume_reads_the_history_counts(fails: bool) -> None:
    """Nothing of the room is replayed, and what was kept of it is dropped."""
    adapter = Slow()
    adapter.subscribing.set()
    rooms = Rooms(adapter)
    rooms.allow.set()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.close()
        await rooms.app.to("chat").emit("said", "missed")
        b = await client.connect(subprotocols=RESUME)
        await b.emit("resume", {"rooms": {"chat": a.offsets["chat"]}}, id=1)
        await until(lambda: "read" in adapter.waiting)
        await rooms.app.to("chat").emit("said", "live")
        await rooms.sockets[1].leave("chat")
        adapter.fails = fails
        adapter.reading.set()
        assert (await b.expect("reply"))["rooms"] == {"chat": {"error": "left"}}
        await client.settle()
        assert not [frame for frame in b.frames if frame["event"] == "said"]
        assert rooms.log == [("joined", "chat"), ("left", "chat"), ("left", "chat")]


async def test_the_apps_join_raises_if_it_leaves_meanwhile() -> None:
    """`socket.join` raises AdapterError, as before."""
    adapter = Slow()
    rooms = Rooms(adapter)
    async with TestClient(rooms.app) as client:
        await client.connect()
        joining = asyncio.create_task(rooms.sockets[0].join("chat"))
        await until(lambda: adapter.waiting)
        await rooms.sockets[0].leave("chat")
        adapter.subscribing.set()
        with pytest.raises(AdapterError, match="was left before the join was done"):
            await joining


async def test_test_connections_show_the_code() -> None:
    """`join` raises Refused with it."""
    rooms = Rooms()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        joining = asyncio.create_task(a.join("chat"))
        await until(lambda: rooms.asked == ["chat"])
        await rooms.sockets[0].leave("chat")
        rooms.allow.set()
        with pytest.raises(Refused) as refused:
            await joining
        assert refused.value.code == "left"


# -- joinedRoom and leftRoom ----------------------------------------------------------------------


def events(connection: TestConnection) -> list[Any]:
    """Return what arrived after `connected`: events, and for some their message."""
    told = ("joinedRoom", "leftRoom", "said")
    return [
        (frame["event"], frame["message"]) if frame["event"] in told else frame["event"]
        for frame in connection.frames[1:]
    ]


async def test_the_client_is_told_when_the_app_moves_it() -> None:
    """With the offset from which the room is live; once, and for real moves only."""
    rooms = Rooms()
    async with TestClient(rooms.app) as client:
        a, b = await client.connect(), await client.connect()
        socket = rooms.sockets[0]
        await socket.join("chat", "news")
        await socket.join("chat")
        await rooms.app.to("chat").emit("said", 1)
        await socket.leave("chat")
        await socket.leave("chat", "nothing")
        await rooms.app.to("chat").emit("said", 2)
        await client.settle()
        zero, one = a.frames[1]["message"]["offset"], a.frames[3]["offset"]
        assert zero != one
        assert events(a) == [
            ("joinedRoom", {"room": "chat", "offset": zero}),
            ("joinedRoom", {"room": "news", "offset": a.offsets["news"]}),
            ("said", 1),
            ("leftRoom", {"room": "chat"}),
        ]
        frame = a.frames[1]
        assert frame["sender"] is None and frame["room"] is None and frame.keys() == {
            "event", "message", "sender", "room"
        }  # fmt: skip
        assert a.offsets.keys() == {"", "news"} and len(b.frames) == 1


async def test_its_own_joins_and_those_of_on_connect_have_answers() -> None:
    """`connected` and the replies say it: no second frame."""
    rooms = Rooms()
    rooms.allow.set()

    @rooms.app.on_connect(path="/lobby")
    async def on_connect(socket: Socket) -> None:
        await socket.join("lobby", "brief")
        await socket.leave("brief")

    rooms.app.add_handler("noti", lambda emitter: None, path="/lobby")
    async with TestClient(rooms.app) as client:
        a = await client.connect("/lobby")
        assert a.offsets.keys() == {"", "lobby"}
        await a.join("lobby", "chat")
        await a.leave("chat")
        assert events(a) == ["reply", "reply", "reply"]


async def test_it_is_told_without_a_history_too() -> None:
    """Then there is no offset."""
    rooms = Rooms(GatedAdapter())
    assert isinstance(rooms.app.adapter, GatedAdapter)
    rooms.app.adapter.gate.set()
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        await rooms.sockets[0].join("chat")
        await rooms.sockets[0].leave("chat")
        await client.settle()
        assert events(a) == [("joinedRoom", {"room": "chat"}), ("leftRoom", {"room": "chat"})]


async def test_hooks_and_handlers_are_told_in_their_order() -> None:
    """The frame comes before what on_joined and on_left emit, which sees the new state."""
    app = WSRoom()

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        await emitter.socket.join("lobby")

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await emitter.to(room).emit("said", f"joined {room}")

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        await emitter.emit_to_sender("said", f"left {room}")

    @app.on("move")
    async def move(emitter: Emitter) -> None:
        await emitter.socket.leave("lobby")
        await emitter.socket.join("chat")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.request("move")
        offsets = [frame["message"].get("offset") for frame in a.frames if "Room" in frame["event"]]
        assert events(a) == [
            ("joinedRoom", {"room": "lobby", "offset": offsets[0]}),
            ("said", "joined lobby"),
            ("leftRoom", {"room": "lobby"}),
            ("said", "left lobby"),
            ("joinedRoom", {"room": "chat", "offset": offsets[2]}),
            ("said", "joined chat"),
            "reply",
        ]


async def test_a_join_is_told_after_what_its_offset_covers() -> None:
    """Messages up to the offset come first, later ones after it, even while frames are held."""

    class Busy(MemoryAdapter):
        async def subscribe(self, room: Room) -> Offset | None:
            offset = await super().subscribe(room)
            if room.name == "chat" and room.path:
                await app.to("chat").emit("said", "during the join")
            return offset

    app = WSRoom(Busy())
    sockets: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        sockets.append(emitter.socket)
        await app.to().emit("said", "on the path")

    async with TestClient(app) as client:
        for held in (False, True):
            a = await client.connect(subprotocols=RESUME if held else ())
            await client.settle()
            await sockets[-1].join("chat")
            await app.to("chat").emit("said", "after the join")
            await a.emit("joinRoom", "other", id=1)  # the first frame ends the hold
            await client.settle()
            offset = next(f for f in a.frames if f["message"] == "during the join")["offset"]
            path = [("said", "on the path")]
            assert events(a) == [
                *([] if held else path),
                ("said", "during the join"),
                ("joinedRoom", {"room": "chat", "offset": offset}),
                *(path if held else []),
                ("said", "after the join"),
                "reply",
            ]
            await a.close()


async def test_a_room_that_is_left_while_frames_are_held_is_left() -> None:
    """What is held of it does not come after `leftRoom`."""
    app = WSRoom()
    sockets: list[Socket] = []

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        sockets.append(socket)
        await socket.join("chat", "news")

    async with TestClient(app) as client:
        a = await client.connect(subprotocols=RESUME)
        for room in ("chat", "news", ""):
            await app.to(*filter(None, [room])).emit("said", room)
        await sockets[0].leave("chat")
        await a.emit("leaveRoom", "other", id=1)
        await client.settle()
        assert events(a) == [
            ("leftRoom", {"room": "chat"}),
            "reply",
            ("said", "news"),
            ("said", ""),
        ]
        assert a.offsets.keys() == {"", "news"}


async def test_the_last_word_about_a_room_is_the_truth() -> None:
    """Whatever the order of the client's and the app's joins and leaves, and slow hooks."""
    rooms = Rooms()
    rooms.allow.set()
    entered, go = asyncio.Event(), asyncio.Event()

    async def on_left(emitter: Emitter, room: str) -> None:
        entered.set()
        await go.wait()

    rooms.app = WSRoom()
    rooms.app.add_hook("on_connect", rooms._on_connect)
    rooms.app.add_hook("on_left", on_left)
    async with TestClient(rooms.app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("leaveRoom", "chat", id=1)
        await entered.wait()
        await rooms.sockets[0].join("chat")
        go.set()
        await client.settle()
        assert [frame["event"] for frame in a.frames[2:]] == ["reply", "joinedRoom"]
        assert "chat" in a.offsets and rooms.sockets[0].rooms == {"chat"}


@pytest.mark.parametrize("event", ["joinedRoom", "leftRoom"])
async def test_the_names_are_reserved(event: str) -> None:
    """An app can neither handle nor emit them, and a client that sends them gets an error."""
    app = WSRoom()
    with pytest.raises(SetupError, match="part of the protocol"):
        app.add_handler(event, lambda emitter: None)
    app.add_handler("*", lambda emitter: None)
    with pytest.raises(ValueError, match="part of the protocol"):
        await app.to("chat").emit(event)
    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused) as refused:
            await a.request(event, "chat")
        assert refused.value.code == "unknown_event"
