"""Joining with the history of a room: the past first, then the reply, then what is live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as network
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.brokers import Broker
from tests.support.clock import until
from tests.support.linked import TestClient
from tests.support.peers import peer
from tests.support.servers import serve
from wsroom import (
    AdapterError,
    Controller,
    Emitter,
    Limits,
    MemoryAdapter,
    RedisAdapter,
    Router,
    SetupError,
    Socket,
    WSRoom,
)
from wsroom.adapters import Adapter, Emission, Offset, Past
from wsroom.testing import Refused, TestConnection
from wsroom.timing import Timing
from wsroom.wire.emission import Room

RESUME = ("wsroom.1.resume", "wsroom.1")
Step = Callable[[], Awaitable[None]]


class Stepping(MemoryAdapter):
    """Calls functions of the test while it subscribes to `chat`, and before and after a read."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps: dict[str, Step] = {}

    async def subscribe(self, room: Room) -> Offset | None:
        if room == ("/ws", "chat"):
            await self._step("subscribe")
        offset = await super().subscribe(room)
        if room == ("/ws", "chat"):
            await self._step("subscribed")
        return offset

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        await self._step("read")
        past = await super().read(room, since, last)
        await self._step("was read")
        return past

    async def _step(self, name: str) -> None:
        if name in self.steps:
            await self.steps[name]()


def chat(adapter: Adapter | None = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        if "room" in socket.query:
            await socket.join(socket.query["room"])

    @app.on("hush", concurrent=True)
    async def hush(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)

    return app


async def say(app: WSRoom, *messages: Any, room: str = "chat") -> None:
    for message in messages:
        await app.to(room).emit("said", message)


def received(connection: TestConnection) -> list[Any]:
    """Return what arrived after `connected`: messages, and the events of other frames."""
    return [
        frame["message"] if frame["event"] == "said" else frame["event"]
        for frame in connection.frames[1:]
    ]


async def test_the_past_comes_first_then_the_reply_then_what_is_live() -> None:
    """In this order on the wire, each message once, whenever the app emits."""
    adapter = Stepping()
    app = chat(adapter)
    for step in ("subscribe", "subscribed", "read", "was read"):
        adapter.steps[step] = lambda step=step: say(app, step)  # type: ignore[misc]
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, *range(10))
        a = await client.connect()
        answer = await a.join("chat", last=5)
        await say(app, "live")
        await client.settle()
        assert received(a) == [8, 9, "subscribe", "subscribed", "read", "reply", "was read", "live"]
        frames = {frame["message"]: frame for frame in reader.frames if frame["event"] == "said"}
        replayed = dict(a.frames[1])
        assert time.time() * 1000 - 60_000 < replayed.pop("time") < time.time() * 1000 + 1
        assert replayed == frames[8], "but for its time, a replayed frame is the original"
        offset = frames["read"]["offset"]
        assert answer == {"room": "chat", "offset": offset, "replayed": 5}


@pytest.mark.parametrize("last", [1, 3, 4, 50, 10**9])
async def test_last_is_how_many_at_most(last: int) -> None:
    """Fewer if the room has had fewer."""
    app = chat()
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1, 2, 3, 4)
        a = await client.connect()
        answer = await a.join("chat", last=last)
        assert received(a) == [*[1, 2, 3, 4][-last:], "reply"]
        assert answer["replayed"] == min(last, 4) and "recovered" not in answer


async def test_since_continues_from_an_offset() -> None:
    """All messages since then, or none; `recovered` says which."""
    app = chat(MemoryAdapter(history=3))
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, *range(5))
        await client.settle()
        offsets = [frame["offset"] for frame in reader.frames[2:]]
        cases: list[tuple[str, list[int], bool]] = [
            (offsets[4], [], True),
            (offsets[3], [4], True),
            (offsets[1], [2, 3, 4], True),
            (offsets[0], [], False),
            ("from another world", [], False),
            ("", [], False),
        ]
        for since, messages, recovered in cases:
            a = await client.connect()
            answer = await a.join("chat", since=since)
            assert received(a) == [*messages, "reply"], since
            replayed = len(messages)
            expected = {"room": "chat", "replayed": replayed, "recovered": recovered}
            assert answer == {**expected, "offset": offsets[4]}


async def test_the_guard_bounds_it() -> None:
    """`replay` of the guard of the room, else `Limits.replay`; 0 forbids it."""

    async def anybody(socket: Socket, room: str) -> None: ...

    class Rest(Controller):
        async def on_join(self, socket: Socket, room: str) -> None: ...

    app = WSRoom(limits=Limits(replay=3))
    router = Router()
    router.on_join("two", replay=2)(anybody)
    router.add_guard(anybody, "none", replay=0)
    router.add_guard(anybody, "more:{id}", replay=5)
    app.include(router, Rest())
    async with TestClient(app) as client:
        reader = await client.connect()
        for room, most in (("two", 2), ("none", 0), ("more:1", 5), ("default", 3)):
            await reader.join(room)
            since = reader.offsets[room]
            await say(app, *range(8), room=room)
            a = await client.connect()
            answer = await a.join(room, last=7)
            assert received(a) == [*range(8 - most, 8), "reply"]
            assert answer["replayed"] == most
            b = await client.connect()
            answer = await b.join(room, since=since)
            assert (answer["replayed"], answer["recovered"]) == (0, False)
            assert answer["offset"] == a.offsets[room]
            await b.leave(room)
            answer = await b.join(room, since=b.frames[1]["message"]["offset"])
            assert (answer["replayed"], answer["recovered"]) == (0, True)


async def test_limits_may_forbid_it() -> None:
    """Then the history is not even read; the default is 100."""
    assert Limits().replay == 100
    adapter = Stepping()
    adapter.steps["read"] = lambda: pytest.fail("the history was read")
    app = chat(adapter, limits=Limits(replay=0))
    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        await a.join("chat")
        await say(app, 1)
        assert (await b.join("chat", last=5))["replayed"] == 0
        assert (await b.join("chat", last=0))["replayed"] == 0


@pytest.mark.parametrize("replay", [-1, 2.0, True, "5"])
def test_an_invalid_bound_is_a_setup_error(replay: Any) -> None:
    """For guards and for Limits; and no other limit may be 0."""
    with pytest.raises(SetupError, match="replay is"):
        WSRoom().add_guard(lambda socket, room: None, replay=replay)
    for limits in ({"replay": -1}, {"rooms_per_socket": 0}):
        with pytest.raises(SetupError, match="Limits"):
            Limits(**limits)


async def test_a_room_that_the_client_asked_for_is_not_replayed_again() -> None:
    """It has what came since; by `joinRoom` or `resume`. After a leave it may ask again."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await say(app, 1, 2)
        answer = await a.join("chat", last=5)
        assert answer == {"room": "chat", "offset": a.offsets["chat"], "replayed": 0}
        assert (await a.join("chat", since=answer["offset"]))["recovered"] is True
        assert (await a.join("chat", since="x:1"))["recovered"] is False
        await a.leave("chat")
        assert (await a.join("chat", last=5))["replayed"] == 2
        assert (await a.join("chat", last=5))["replayed"] == 0
        b = await client.connect(query={"room": "chat"}, subprotocols=RESUME)
        await b.resume(a)
        assert (await b.join("chat", last=5))["replayed"] == 0


@pytest.mark.parametrize("by", ["on_connect", "a task"])
async def test_a_room_that_the_app_joined_is_replayed_once(by: str) -> None:
    """What was delivered live since then is not delivered again."""
    app = chat()
    sockets: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        sockets.append(emitter.socket)

    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1, 2, 3)
        a = await client.connect(query={"room": "chat"} if by == "on_connect" else {})
        if by == "a task":
            await sockets[-1].join("chat")
        await say(app, "live")
        answer = await a.join("chat", last=3)
        assert [each for each in received(a) if each != "joinedRoom"] == ["live", 2, 3, "reply"]
        assert answer == {"room": "chat", "offset": a.offsets["chat"], "replayed": 2}
        assert (await a.join("chat", last=3))["replayed"] == 0
        await say(app, "later")
        assert await a.expect("said") == "live"
        assert [await a.expect("said") for _ in range(3)] == [2, 3, "later"]


async def test_a_room_of_the_app_may_be_asked_for_since_an_offset() -> None:
    """A page that was reloaded continues where it was."""
    app = chat()
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1, 2, 3)
        await client.settle()
        since = reader.frames[2]["offset"]
        a = await client.connect(query={"room": "chat"})
        answer = await a.join("chat", since=since)
        assert received(a) == [2, 3, "reply"] and answer["recovered"] is True


async def test_what_comes_while_the_app_joins_is_delivered_once() -> None:
    """A message that reaches the socket before the broker has confirmed is no part of the past."""
    adapter = Stepping()
    app = chat(adapter)
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1)
        adapter.steps["subscribe"] = lambda: say(app, "at the join")
        a = await client.connect(query={"room": "chat"})
        adapter.steps.clear()
        await a.join("chat", last=5)
        assert received(a) == ["at the join", 1, "reply"]


async def test_held_frames_come_after_the_past() -> None:
    """A socket that was to resume, but joins with its history, gets all in order."""
    app = chat()
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1, 2)
        a = await client.connect(query={"room": "chat"}, subprotocols=RESUME)
        await say(app, "held")
        await app.to().emit("said", "on the path")
        answer = await a.join("chat", last=5)
        await say(app, "live")
        await client.settle()
        assert received(a) == ["on the path", 1, 2, "held", "reply", "live"]
        assert answer["replayed"] == 2


async def test_last_includes_what_the_session_sent_and_since_does_not() -> None:
    """A reload shows the whole conversation; a client that comes back knows its own part."""
    app = chat()
    async with TestClient(app) as client:
        other = await client.connect()
        a = await client.connect()
        since = (await other.join("chat"))["offset"]
        await a.request("hush", "my own")
        await other.request("hush", "another's")
        assert (await a.join("chat", last=5))["replayed"] == 2
        await a.leave("chat")
        assert (await a.join("chat", since=since))["replayed"] == 1
        said = [each for each in received(a) if each != "reply"]
        assert said == ["my own", "another's", "another's"]


async def test_only_the_rooms_own_messages_are_its_history() -> None:
    """Those to several rooms are the path's; those that exclude a room of the socket are not."""
    app = chat()
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1)
        await app.to("chat", "news").emit("said", "to several")
        await app.to().emit("said", "to all")
        await app.to("chat").except_("muted").emit("said", "not to the muted")
        await app.to("chat").except_("others").emit("said", 2)
        a = await client.connect()
        await a.join("muted")
        answer = await a.join("chat", last=3)
        assert received(a) == ["reply", 1, 2, "reply"] and answer["replayed"] == 2


async def test_only_that_rooms_frames_wait() -> None:
    """Other rooms, the path, unions and replies pass while the history is read."""
    adapter = Stepping()
    reading, go = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        reading.set()
        await go.wait()

    adapter.steps["read"] = read
    app = chat(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("news")
        await a.emit("joinRoom", {"room": "chat", "last": 5}, id=1)
        await reading.wait()
        for number in range(3):
            await say(app, f"chat {number}")
            await say(app, f"news {number}", room="news")
        await app.to().emit("said", "path")
        await app.to("chat", "news").emit("said", "both")
        await app.to("news").except_("chat").emit("said", "without chat")
        await app.to(a.id).emit("said", "to it alone")
        others = ["news 0", "news 1", "news 2", "path", "both", "to it alone"]
        await until(lambda: received(a)[1:] == others)
        go.set()
        await client.settle()
        assert received(a)[7:] == ["chat 0", "chat 1", "chat 2", "reply"]


@pytest.mark.parametrize("joined_by_app", [False, True])
async def test_a_read_that_fails_is_a_join_that_failed(joined_by_app: bool) -> None:
    """`unavailable`; nothing of the room arrives, and the client can ask again."""
    adapter = Stepping()
    app = chat(adapter)
    hooks: list[str] = []
    app.add_hook("on_joined", lambda emitter, room: hooks.append("joined"))
    app.add_hook("on_left", lambda emitter, room: hooks.append("left"))

    async def fail() -> None:
        await say(app, 2)
        raise AdapterError("the broker does not answer")

    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1)
        a = await client.connect(query={"room": "chat"} if joined_by_app else {})
        await client.settle()
        hooks.clear()
        adapter.steps["read"] = fail
        with pytest.raises(Refused) as refused:
            await a.join("chat", last=5)
        assert refused.value.code == "unavailable"
        adapter.steps.clear()
        await say(app, 3)
        await client.settle()
        live = [2, 3] if joined_by_app else []
        assert [each for each in received(a) if each != "error"] == live and hooks == []
        await a.join("chat", last=5)
        said = [each for each in received(a) if each not in ("error", "reply")]
        assert said == [*live, 1] if joined_by_app else said == [1, 2, 3]


async def test_a_read_that_takes_too_long_is_a_join_that_failed() -> None:
    """`timeout`, as for handlers; the socket is not in the room."""
    adapter = Stepping()
    adapter.steps["read"] = asyncio.Event().wait  # type: ignore[assignment]
    app = chat(adapter, limits=Limits(handler_timeout=0.05))
    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused) as refused:
            await a.join("chat", last=5)
        assert refused.value.code == "timeout"
        await say(app, 1)
        await client.settle()
        assert received(a) == ["error"] and len(app._worker.hub.rooms) == 1  # the path


async def test_a_leave_during_the_read_counts() -> None:
    """The join fails with `left`, and nothing of the room arrives."""
    adapter = Stepping()
    app = chat(adapter)
    sockets: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        sockets.append(emitter.socket)

    async def kick() -> None:
        await say(app, 2)
        await sockets[-1].leave("chat")

    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1)
        a = await client.connect()
        await client.settle()
        adapter.steps["read"] = kick
        with pytest.raises(Refused) as refused:
            await a.join("chat", last=5)
        assert refused.value.code == "left"
        await client.settle()
        assert received(a) == ["leftRoom", "error"]


async def test_too_much_during_the_read_closes() -> None:
    """It can neither be held nor be written: 1013, and the client tries again."""
    adapter = Stepping()
    app = chat(adapter, limits=Limits(write_buffer=1000))

    async def flood() -> None:
        await say(app, *range(20))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    adapter.steps["read"] = flood
    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("joinRoom", {"room": "chat", "last": 5}, id=1)
        assert await a.closed() == 1013


async def test_a_reader_that_stops_is_closed() -> None:
    """The next history waits for it for at most 5 s; then it is too slow: 1013."""
    app = chat(_timing=Timing(hold=0.2))
    codes: list[int] = []

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        codes.append(code)

    async with serve(app) as server, peer(server) as first:
        for number in range(10):
            await first.request("joinRoom", f"room {number}")
        for number in range(10):
            for _ in range(9):
                await app.to(f"room {number}").emit("bulk", "x" * 100_000)
                await asyncio.sleep(0)
        with contextlib.closing(network.create_connection(("127.0.0.1", server.port))) as raw:
            raw.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
            options: dict[str, Any] = {"max_queue": 1}
            with contextlib.suppress(ConnectionClosed):
                async with peer(server, sock=raw, compression=None, **options) as slow:
                    for number in range(10):
                        await slow.send("joinRoom", {"room": f"room {number}", "last": 9})
                    await until(lambda: codes)
                    slow.websocket.transport.abort()
        assert codes == [1013]


async def test_large_histories_are_paced_and_arrive(ws: str) -> None:
    """Nine megabytes are more than a socket may have unsent; a healthy client gets all of it."""
    app = chat(limits=Limits(write_buffer=300_000))
    async with serve(app, ws=ws) as server, peer(server) as first:
        for number in range(10):
            await first.request("joinRoom", f"room {number}")
        for number in range(10):
            for _ in range(9):
                await app.to(f"room {number}").emit("bulk", "x" * 100_000)
                await first.expect("bulk")
        async with peer(server) as a:
            for number in range(10):
                await a.send("joinRoom", {"room": f"room {number}", "last": 9}, id=number)
            for number in range(10):
                for _ in range(9):
                    assert (await a.next())["room"] == f"room {number}"
                assert (await a.expect("reply"))["replayed"] == 9


async def test_the_hook_runs_after_the_reply() -> None:
    """As for every `joinRoom`."""
    app = chat()

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await emitter.to(room).emit("said", "hello")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", last=5)
        await client.settle()
        assert received(a) == ["reply", "hello"]


async def test_without_a_history_there_is_no_past() -> None:
    """`replayed` is 0, `recovered` false, and there is no offset; live messages arrive once."""

    class Plain(MemoryAdapter):
        async def publish(self, emission: Emission) -> None:
            for deliver in self._delivers:
                deliver(emission, None)

        async def subscribe(self, room: Room) -> Offset | None:
            return None

        read = Adapter.read

    app = chat(Plain())
    async with TestClient(app) as client:
        a = await client.connect(query={"room": "lobby"})
        assert await a.join("chat", last=5) == {"room": "chat", "replayed": 0}
        assert await a.join("lobby", last=5) == {"room": "lobby", "replayed": 0}
        answer = await a.join("news", since="x:1")
        assert answer == {"room": "news", "replayed": 0, "recovered": False}
        await say(app, 1)
        await client.settle()
        assert received(a) == ["reply", "reply", "reply", 1]


MALFORMED: list[tuple[Any, str]] = [
    ({}, "bad_room"),
    ({"room": 5, "last": 1}, "bad_room"),
    ({"room": "ws:1.2", "last": 1}, "bad_room"),
    ([{"room": "chat"}], "bad_room"),
    ({"room": "chat", "last": -1}, "invalid_message"),
    ({"room": "chat", "last": 1.5}, "invalid_message"),
    ({"room": "chat", "last": True}, "invalid_message"),
    ({"room": "chat", "last": "5"}, "invalid_message"),
    ({"room": "chat", "since": 5}, "invalid_message"),
    ({"room": "chat", "since": "x", "last": 5}, "invalid_message"),
]


@pytest.mark.parametrize(("message", "code"), MALFORMED, ids=lambda each: json.dumps(each)[:40])
async def test_a_malformed_join_is_answered(message: Any, code: str) -> None:
    """And the socket is not in the room."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused) as refused:
            await a.request("joinRoom", message)
        assert refused.value.code == code and len(app._worker.hub.rooms) == 1


@pytest.mark.parametrize("message", [{"room": "chat"}, {"room": "chat", "last": None, "x": 1}])
async def test_the_object_form_alone_is_a_plain_join(message: Any) -> None:
    """Unknown keys are ignored."""
    async with TestClient(chat()) as client:
        a = await client.connect()
        answer = await a.request("joinRoom", message)
        assert answer == {"room": "chat", "offset": a.offsets["chat"]}


async def test_a_join_without_an_id_replays_too() -> None:
    """Before the next frame is handled."""
    app = chat()
    async with TestClient(app) as client:
        reader = await client.connect()
        await reader.join("chat")
        await say(app, 1)
        a = await client.connect()
        await a.emit("joinRoom", {"room": "chat", "last": 5})
        await a.join("news")
        assert received(a) == [1, "reply"]


async def flooded_joins(one: TestClient, two: TestClient, apps: list[WSRoom]) -> None:
    """Join again and again, on both workers, while both emit all the time."""
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await say(apps[sent % 2], sent)
            sent += 1
            await asyncio.sleep(0)

    reader = await one.connect()
    await reader.join("chat")
    flooding = asyncio.create_task(flood())
    try:
        for number in range(30):
            query = {"room": "chat"} if number % 3 == 2 else {}
            subprotocols = RESUME if number % 2 else ()
            a = await (one, two)[number % 2].connect(query=query, subprotocols=subprotocols)
            enough = sent + 5
            await until(lambda: sent > enough)  # noqa: B023
            answer = await a.join("chat", last=20, timeout=5)
            enough = sent + 20
            await until(lambda: received(a)[-1] != "reply" and received(a)[-1] > enough)  # noqa: B023
            messages = [each for each in received(a) if each != "reply"]
            assert len(messages) == len(set(messages)) and answer["replayed"] <= 20
            assert sorted(messages) == list(range(min(messages), max(messages) + 1))
            if not query:
                assert messages == sorted(messages)
                assert answer["replayed"] == 20 or messages[0] == 0, "fewer only if no more exist"
            await a.close()
    finally:
        flooding.cancel()


async def test_nothing_is_doubled_or_missing_between_past_and_live() -> None:
    """While others emit all the time, on either of two workers."""
    adapter = MemoryAdapter()
    apps = [chat(adapter), chat(adapter)]
    async with TestClient(apps[0]) as one, TestClient(apps[1]) as two:
        await flooded_joins(one, two, apps)


async def test_nothing_is_doubled_or_missing_through_redis(valkey: Broker, prefix: str) -> None:
    """The same on two workers with a real server."""
    apps = [chat(RedisAdapter(valkey.url, prefix=prefix)) for _ in range(2)]
    async with TestClient(apps[0], timeout=20) as one, TestClient(apps[1], timeout=20) as two:
        await flooded_joins(one, two, apps)
