"""Moderation: `leave`, `disconnect` and `recheck`, on all workers, through memory and Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.clock import SECOND, until
from tests.support.fakes import GatedAdapter
from wsroom import (
    Adapter,
    BlockingEmitter,
    Disconnect,
    Emitter,
    Limits,
    MemoryAdapter,
    RedisAdapter,
    Reject,
    Socket,
    Target,
    WSRoom,
)
from wsroom.adapters import Offset, Room
from wsroom.adapters.redis.codec import RedisNames
from wsroom.testing import Refused, TestClient, TestConnection
from wsroom.wire.emission import RESYNC, Emission

RESUME = ("wsroom.1.resume",)


class Chat:
    """An app whose users are in the room `user:<name>`, and whose guard asks `banned`."""

    def __init__(self, adapter: Adapter, banned: set[tuple[str, str]], **options: Any) -> None:
        self.app = WSRoom(adapter, **options)
        self.banned = banned
        self.open = asyncio.Event()
        self.open.set()
        self.asked: list[tuple[str, str]] = []
        self.log: list[tuple[str, ...]] = []
        self.sockets: dict[str, Socket] = {}
        self.app.add_hook("on_connect", self._on_connect)
        self.app.add_guard(self._guard)
        self.app.add_hook("on_left", self._on_left)
        self.app.add_hook("on_disconnect", self._on_disconnect)
        self.client = TestClient(self.app, timeout=5 * SECOND)

    async def _on_connect(self, socket: Socket) -> str:
        user = socket.query.get("user", "")
        self.sockets[user] = socket
        await socket.join(f"user:{user}")
        return user

    async def _guard(self, socket: Socket, room: str) -> None:
        allowed = (socket.user, room) not in self.banned
        self.asked.append((socket.user, room))
        await self.open.wait()
        if not allowed:
            raise Reject("banned")

    async def _on_left(self, emitter: Emitter, room: str) -> None:
        self.log.append(("left", emitter.socket.user, room))

    async def _on_disconnect(self, socket: Socket, code: int) -> None:
        self.log.append(("disconnected", socket.user, str(code)))

    def to(self, *rooms: str) -> Target:
        return self.app.to(*rooms)

    async def connect(self, user: str, **options: Any) -> TestConnection:
        return await self.client.connect(query={"user": user}, **options)


@pytest.fixture(params=["memory", "redis"])
def adapters(request: pytest.FixtureRequest, valkey: Broker, prefix: str) -> list[Adapter]:
    """The adapters of two workers."""
    if request.param == "memory":
        return [MemoryAdapter()] * 2
    return [RedisAdapter(valkey.url, prefix=prefix) for _ in range(2)]


@pytest.fixture
async def workers(adapters: list[Adapter]) -> AsyncIterator[list[Chat]]:
    """Two workers of one app."""
    banned: set[tuple[str, str]] = set()
    async with contextlib.AsyncExitStack() as stack:
        chats = [Chat(adapter, banned) for adapter in adapters]
        for chat in chats:
            await stack.enter_async_context(chat.client)
        yield chats


def events(connection: TestConnection) -> list[Any]:
    """Events, and the texts of messages, in order."""
    return [f["message"] if f["event"] == "said" else f["event"] for f in connection.frames]


# -- leave ---------------------------------------------------------------------------------


async def test_a_user_leaves_on_all_workers(workers: list[Chat]) -> None:
    """Nothing later of the room reaches the user; others, and other rooms, are not concerned."""
    one, two = workers
    kicked = [await chat.connect("eve") for chat in workers]
    other = await two.connect("bob")
    for member in (*kicked, other):
        await member.join("board", "lobby")
    await one.to("board").emit("said", "before")
    await one.to("user:eve").leave("board")
    await one.to("board").emit("said", "after")
    await one.to("lobby").emit("said", "end")
    for member in kicked:
        assert await member.expect("leftRoom") == {"room": "board"}
        while (await member.expect("said")) != "end":
            pass
        assert [e for e in events(member) if e != "reply"] == [
            "connected",
            "before",
            "leftRoom",
            "end",
        ]
        assert member.offsets.keys() == {"", "user:eve", "lobby"}
    assert [await other.expect("said") for _ in range(3)] == ["before", "after", "end"]
    await until(lambda: [c.log for c in workers] == [[("left", "eve", "board")]] * 2)


async def test_it_keeps_its_place_among_the_rooms_messages(workers: list[Chat]) -> None:
    """Each member gets what was emitted before the leave, and nothing of what comes after it."""
    one, two = workers
    members = [await chat.connect("eve") for chat in workers for _ in range(3)]
    for member in members:
        await member.join("board")

    async def emit(first: int) -> None:
        for number in range(first, first + 50):
            await two.to("board").emit("said", number)

    for number in range(10):
        await one.to("board").emit("said", number)
    await asyncio.gather(emit(100), one.to("user:eve").leave("board"))
    for member in members:
        await member.expect("leftRoom")
    await one.to().emit("said", "end")
    for member in members:
        await until(lambda: "end" in events(member))  # noqa: B023
    [order] = {tuple(e for e in events(member) if e != "reply") for member in members}
    at = order.index("leftRoom")
    assert order[1:11] == tuple(range(10)) and order[at + 1 :] == ("end",)


async def test_the_chosen_sockets_leave_and_no_others(workers: list[Chat]) -> None:
    """Several rooms are their union, a socket's id is a room of one, `except_` leaves out."""
    one, two = workers
    a, b, c, d = [await chat.connect(user) for chat, user in zip(workers * 2, "abcd", strict=True)]
    for member in (a, b, c, d):
        await member.join("board")
    await one.to("user:a", "user:b").leave("board", "lobby")
    assert [await each.expect("leftRoom") for each in (a, b)] == [{"room": "board"}] * 2
    await two.to(c.id).leave("board")
    assert await c.expect("leftRoom") == {"room": "board"}
    for member in (a, b, c):
        await member.join("board")
    await two.to().except_("user:d").leave("board")
    for member in (a, b, c):
        await member.expect("leftRoom")
    await one.to().emit("said", "end")
    for member in (a, b, c, d):
        await member.expect("said")
    assert "leftRoom" not in events(d) and "board" in d.offsets
    assert [events(each).count("leftRoom") for each in (a, b, c)] == [2, 2, 2]


async def test_a_join_whose_guard_decides_has_left(workers: list[Chat]) -> None:
    """Although the worker does not hear the room yet; a later join is another one."""
    one, two = workers
    a = await two.connect("eve")
    two.open.clear()
    await a.emit("joinRoom", "board", id=1)
    await until(lambda: two.asked == [("eve", "board")])
    await one.to("user:eve").leave("board")
    await one.to("user:eve").emit("marker")
    await a.expect("marker")
    two.open.set()
    assert (await a.expect("error"))["code"] == "left"
    assert two.sockets["eve"].rooms == {"user:eve"} and "leftRoom" not in events(a)
    await a.join("board")


async def test_the_place_in_the_rooms_order_does_not_depend_on_the_path(
    valkey: Broker, prefix: str
) -> None:
    """Also on a worker that hears the room, and not yet the path."""
    one, two = [Chat(RedisAdapter(valkey.url, prefix=prefix), set()) for _ in range(2)]
    async with one.client, two.client:
        a, witness = await two.connect("eve"), await two.connect("bob")
        for member in (a, witness):
            await member.join("board")
        receiver = two.app.adapter._receiver  # type: ignore[attr-defined]
        path = receiver.feeds[RedisNames(prefix).channel(Room("/ws", ""))]
        path.interrupt(asyncio.get_running_loop().time())  # as if it were being caught up
        await one.to("user:eve").leave("board")
        await one.to("board").emit("said", "after")
        assert await witness.expect("said") == "after"
        await a.expect("leftRoom")
        receiver._catch_up(path)
        await one.to().emit("end")
        await a.expect("end")
        assert "after" not in events(a) and events(a).count("leftRoom") == 1


async def test_a_resume_whose_guard_decides_has_left(workers: list[Chat]) -> None:
    """On another worker than before; its other rooms are recovered."""
    one, two = workers
    gone = await one.connect("eve")
    await gone.join("board", "lobby")
    await gone.close()
    back = await two.connect("eve", subprotocols=RESUME)
    two.open.clear()
    resuming = asyncio.create_task(back.resume(gone))
    await until(lambda: len(two.asked) == 1)
    witness = await two.connect("bob")
    await one.to("user:eve").leave("board")
    await one.to().emit("marker")
    await witness.expect("marker")  # the frames of the other one wait for its resume
    two.open.set()
    rooms = await resuming
    assert rooms["board"] == {"error": "left"} and rooms["lobby"]["recovered"]


async def test_a_join_that_waits_for_the_broker_has_left() -> None:
    """The client's join fails with `left`, and the room is empty."""
    adapter = GatedAdapter()
    adapter.gate.set()
    chat = Chat(adapter, set())
    async with chat.client:
        a = await chat.connect("eve")
        adapter.gate.clear()
        await a.emit("joinRoom", "board", id=1)
        await until(lambda: adapter.asked[-1] == "board")
        await chat.to("user:eve").leave("board")
        adapter.gate.set()
        assert (await a.expect("error"))["code"] == "left"
        assert chat.sockets["eve"].rooms == {"user:eve"}


async def test_both_copies_count_once(workers: list[Chat]) -> None:
    """A client that joins again at once, as its guard allows it, stays in the room."""
    one, two = workers
    a = await two.connect("eve")
    for _ in range(30):
        await a.join("board")
        leaving = asyncio.create_task(one.to("user:eve").leave("board"))
        await a.expect("leftRoom")
        await a.join("board")
        await leaving
        await one.to().emit("marker")
        await a.expect("marker")
        assert "board" in two.sockets["eve"].rooms
        await a.leave("board")
    assert events(a).count("leftRoom") == 30


async def test_it_is_never_replayed(workers: list[Chat]) -> None:
    """About a client that was away the guard alone decides; no frame shows the kick."""
    one, two = workers
    gone = await one.connect("eve")
    await gone.join("board")
    await gone.close()
    await one.to("board").emit("said", 1)
    await one.to("user:eve").leave("board")
    await one.to("user:eve").disconnect()
    await one.to("board").recheck()
    await one.to("board").emit("said", 2)
    back = await two.connect("eve", subprotocols=RESUME)
    rooms = await back.resume(gone)
    assert {name: answer["recovered"] for name, answer in rooms.items()} == {
        "": True, "board": True, "user:eve": True,
    }  # fmt: skip
    assert events(back) == ["connected", 1, 2, "reply"]
    late = await two.connect("bob")
    answer = await late.join("board", last=100)
    assert answer["replayed"] == 2 and events(late) == ["connected", 1, 2, "reply"]


async def test_a_held_frame_of_a_room_that_was_left_is_dropped(workers: list[Chat]) -> None:
    """While frames wait for a `resume`, too: the room's last frames do not follow `leftRoom`."""
    one, two = workers
    a = await two.connect("eve", subprotocols=RESUME)
    await two.sockets["eve"].join("board")
    await one.to("board").emit("said", 1)
    await one.to("user:eve").leave("board")
    assert await a.expect("leftRoom") == {"room": "board"}
    await a.request("leaveRoom", "nowhere")  # the first frame releases what was held
    await one.to().emit("end")
    await a.expect("end")
    assert 1 not in events(a)


async def test_names_are_checked(workers: list[Chat]) -> None:
    """Before anything is published."""
    one = workers[0]
    a = await one.connect("eve")
    for room in ("", "ws:1.2", "a\nb", "x" * 200):
        with pytest.raises(ValueError):
            await one.to("user:eve").leave("fine", room)
    for code, reason in ((1005, ""), (2999, ""), (4403, "x" * 124)):
        with pytest.raises(ValueError):
            await one.to("user:eve").disconnect(code, reason)
    with pytest.raises(ValueError):
        await one.to("user:eve").recheck("")
    await one.to().emit("marker")
    await a.expect("marker")
    assert events(a) == ["connected", "marker"]


async def test_handlers_moderate_too(workers: list[Chat]) -> None:
    """By their emitters, also blocking ones; without rooms that is refused: it means everybody."""
    one, two = workers
    admin, eve = await one.connect("admin"), await two.connect("eve")

    async def kick(emitter: Emitter, message: dict[str, Any]) -> None:
        await getattr(emitter.to(*message["to"]), message["do"])(*message["with"])

    def kick_blocking(emitter: BlockingEmitter, message: dict[str, Any]) -> None:
        getattr(emitter.to(*message["to"]), message["do"])(*message["with"])

    def handlers(chat: Chat) -> None:
        chat.app._frozen = ""
        chat.app.add_handler("kick", kick)
        chat.app.add_handler("block", kick_blocking)

    handlers(one)
    for event in ("kick", "block"):
        await eve.join("board")
        leave = {"to": ["user:eve"], "do": "leave", "with": ["board"]}
        await admin.request(event, leave)
        assert await eve.expect("leftRoom") == {"room": "board"}
        for do, args in (("leave", ["board"]), ("disconnect", []), ("recheck", [])):
            with pytest.raises(Refused, match="internal"):
                await admin.request(event, {"to": [], "do": do, "with": args})
        await admin.request(event, {"to": ["board"], "do": "recheck", "with": []})
    await admin.request("kick", {"to": ["user:eve"], "do": "disconnect", "with": [4403, "banned"]})
    assert await eve.closed() == 4403


# -- disconnect ----------------------------------------------------------------------------


async def test_a_user_is_disconnected_on_all_workers(workers: list[Chat]) -> None:
    """With the code and the reason; the last hooks run, and frames before the close arrive."""
    one, two = workers
    kicked = [await chat.connect("eve") for chat in workers]
    other = await two.connect("bob")
    await one.to("user:eve").emit("said", "last words")
    await one.to("user:eve").disconnect(4403, "banned")
    for member in kicked:
        assert await member.closed() == 4403 and member.close_reason == "banned"
        assert events(member) == ["connected", "last words"]
    for chat in workers:
        await until(lambda: ("disconnected", "eve", "4403") in chat.log)  # noqa: B023
    await one.to(other.id).disconnect()
    assert await other.closed() == 1000


async def test_a_socket_in_on_connect_is_refused() -> None:
    """The close counts while the handshake is not done."""
    chat = Chat(MemoryAdapter(), set())
    go_on = asyncio.Event()

    async def wait(socket: Socket) -> None:
        await go_on.wait()

    chat.app.add_hook("on_connect", wait)
    async with chat.client:
        connecting = asyncio.create_task(chat.connect("eve"))
        await until(lambda: chat.sockets.get("eve") and chat.sockets["eve"].rooms)
        await chat.to("user:eve").disconnect(4403)
        go_on.set()
        with pytest.raises(Refused) as refused:
            await connecting
        assert refused.value.status == 403


# -- recheck -------------------------------------------------------------------------------


async def test_guards_are_asked_again(workers: list[Chat]) -> None:
    """Who is rejected leaves, who is allowed stays; rooms that the app joined are not checked."""
    one, two = workers
    eve, bob = await one.connect("eve"), await two.connect("bob")
    for member in (eve, bob):
        await member.join("board", "lobby")
    await two.sockets["bob"].join("by app")
    one.banned |= {("eve", "board"), ("bob", "by app"), ("bob", "user:bob")}
    one.asked.clear()
    two.asked.clear()
    await two.to("board").recheck()
    assert await eve.expect("leftRoom") == {"room": "board"}
    await until(lambda: len(one.asked) == len(two.asked) == 2)
    await two.client.settle()
    assert sorted(one.asked) == [("eve", "board"), ("eve", "lobby")]
    assert sorted(two.asked) == [("bob", "board"), ("bob", "lobby")]
    assert two.sockets["bob"].rooms == {"user:bob", "board", "lobby", "by app"}
    assert one.log == [("left", "eve", "board")]


async def test_only_the_named_rooms_are_checked(workers: list[Chat]) -> None:
    """`recheck` of a user, about one room."""
    one, two = workers
    eve = await two.connect("eve")
    await eve.join("board", "lobby")
    one.banned |= {("eve", "board"), ("eve", "lobby")}
    two.asked.clear()
    await one.to("user:eve").recheck("lobby")
    assert await eve.expect("leftRoom") == {"room": "lobby"}
    assert two.asked == [("eve", "lobby")] and "board" in two.sockets["eve"].rooms


async def test_what_a_guard_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Disconnect closes; any other failure, and a guard that takes too long, changes nothing."""
    chat = Chat(MemoryAdapter(), set(), limits=Limits(handler_timeout=0.1 * SECOND))
    raised: dict[str, Callable[[], BaseException]] = {
        "eve": lambda: Disconnect(4403, "banned"),
        "bob": lambda: RuntimeError("no database"),
        "ann": SystemExit,
        "tom": lambda: asyncio.CancelledError(),
    }
    failing = False

    async def guard(socket: Socket, room: str) -> None:
        if failing:
            if socket.user == "sue":
                await asyncio.Event().wait()
            raise raised[socket.user]()

    chat.app.add_guard(guard, "board")
    async with chat.client:
        members = {user: await chat.connect(user) for user in (*raised, "sue")}
        for member in members.values():
            await member.join("board")
        failing = True
        await chat.to("board").recheck()
        assert await members["eve"].closed() == 4403
        await chat.client.settle()
        for user in ("bob", "ann", "tom", "sue"):
            assert "board" in chat.sockets[user].rooms, user
            assert f"socket {members[user].id} stays in room 'board'" in caplog.text


async def test_a_guard_that_answers_late_removes_no_later_membership() -> None:
    """The socket has left meanwhile, and a later guard has let it in again."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        a = await chat.connect("eve")
        await a.join("board")
        chat.banned.add(("eve", "board"))
        chat.open.clear()
        await chat.to("board").recheck()
        await until(lambda: len(chat.asked) == 2)
        chat.banned.clear()
        await a.leave("board")
        await a.emit("joinRoom", "board", id=1)
        await until(lambda: len(chat.asked) == 3)
        chat.open.set()
        await chat.client.settle()
        assert events(a)[-1] == "reply" and "board" in chat.sockets["eve"].rooms


async def test_at_most_32_guards_are_asked_again_at_a_time() -> None:
    """Handlers run beside them."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        for _ in range(40):
            await (await chat.connect("eve")).join("board")
        admin = await chat.connect("admin")
        chat.asked.clear()
        chat.open.clear()
        await chat.to("board").recheck()
        await until(lambda: chat.asked)
        await admin.request("leaveRoom", "nowhere")
        assert len(chat.asked) == 32
        chat.open.set()
        await chat.client.settle()
        assert len(chat.asked) == 40


async def test_a_stop_does_not_wait_for_guards() -> None:
    """Guards that are being asked again are cancelled."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        a = await chat.connect("eve")
        await a.join("board")
        chat.open.clear()
        await chat.to("board").recheck()
        await until(lambda: len(chat.asked) == 2)


async def test_guards_that_never_suspend_let_others_run() -> None:
    """Between any two of them, of one worker's many."""
    chat = Chat(MemoryAdapter(), set())
    turns: list[int] = []

    async def guard(socket: Socket, room: str) -> None:
        turns.append(passes)

    chat.app.add_guard(guard, "board")
    passes = 0
    async with chat.client:
        for _ in range(100):
            await (await chat.connect("eve")).join("board")
        turns.clear()
        await chat.to("board").recheck()
        while len(turns) < 100:
            passes += 1
            await asyncio.sleep(0)
        assert max(turns.count(each) for each in turns) <= 32


async def test_an_invalid_order_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, since another program may publish anything."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        a = await chat.connect("eve")
        for kind in ("leave", "disconnect", "recheck"):
            chat.app._worker.hub.deliver(Emission(Room("/ws", ""), b"{}", kind=kind), None)
            assert (
                f"ignored in the path /ws: an invalid emission of the kind '{kind}'" in caplog.text
            )
        await chat.to().emit("end")
        await a.expect("end")


# -- a loss of messages --------------------------------------------------------------------


def lose(chat: Chat, room: Room) -> None:
    """Deliver what an adapter delivers if it has lost messages of a room."""
    chat.app._worker.hub.deliver(Emission(room, b"", kind=RESYNC), Offset("x", 1))


@pytest.mark.parametrize("lost", ["board", ""])
async def test_guards_are_asked_again_after_a_loss(lost: str) -> None:
    """A leave may be among the messages that were lost: of the room, or of the path."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        eve, bob = await chat.connect("eve"), await chat.connect("bob")
        for member in (eve, bob):
            await member.join("board", "lobby")
        chat.banned.add(("eve", "board"))
        chat.asked.clear()
        lose(chat, Room("/ws", lost))
        assert await eve.expect("leftRoom") == {"room": "board"}
        await chat.client.settle()
        rooms = ("board",) if lost else ("board", "lobby")
        assert sorted(chat.asked) == [(user, room) for user in ("bob", "eve") for room in rooms]
        assert "board" in chat.sockets["bob"].rooms


async def test_a_guard_that_decides_during_a_loss_is_asked_again() -> None:
    """What was lost may have been the leave that should have ended this join."""
    chat = Chat(MemoryAdapter(), set())
    async with chat.client:
        a = await chat.connect("eve")
        chat.open.clear()
        await a.emit("joinRoom", "board", id=1)
        await until(lambda: chat.asked)
        chat.banned.add(("eve", "board"))  # too late for the guard that is being asked
        lose(chat, Room("/ws", ""))
        chat.open.set()
        await a.expect("reply")
        assert await a.expect("leftRoom") == {"room": "board"}
        assert len(chat.asked) == 2


async def test_a_leave_that_was_lost_with_the_history_holds(valkey: Broker, prefix: str) -> None:
    """The room's state is deleted, as FLUSHALL does, before the other worker has heard of it."""
    chats = [Chat(RedisAdapter(valkey.url, prefix=prefix, history=0), set()) for _ in range(2)]
    one, two = chats
    two.banned = one.banned
    async with one.client, two.client:
        a = await two.connect("eve")
        await a.join("board")
        receiver = two.app.adapter._receiver  # type: ignore[attr-defined]
        for feed in receiver.feeds.values():  # as if its link had been cut
            feed.interrupt(asyncio.get_running_loop().time())
        one.banned.add(("eve", "board"))
        await one.to("user:eve").leave("board")
        await valkey.cli("FLUSHALL")
        for feed in receiver.feeds.values():
            receiver._catch_up(feed)
        assert await a.expect("leftRoom") == {"room": "board"}
        await one.to("board").emit("said", "secret")
        await one.to(a.id).emit("end")
        await a.expect("end")
        assert "secret" not in events(a)
