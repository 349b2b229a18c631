"""Leaving while a join is under way, and what the client is told when the app moves its socket."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clock import until
from wsroom import AdapterError, Emitter, MemoryAdapter, Socket, WSRoom
from wsroom.adapters import Offset, Past
from wsroom.testing import Refused, TestClient
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
