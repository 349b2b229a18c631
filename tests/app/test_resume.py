"""Resuming: missed messages arrive once, in order, before live ones; or a loss is reported."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.clock import HOUR, SECOND, TICK, until
from tests.support.linked import TestClient
from tests.support.peers import WAIT, Peer, peer
from tests.support.servers import serve
from wsroom import (
    AdapterError,
    Disconnect,
    Emitter,
    Limits,
    MemoryAdapter,
    Reject,
    Socket,
    WSRoom,
)
from wsroom.adapters import Emission, Offset, Past
from wsroom.testing import Refused, TestConnection
from wsroom.timing import Timing
from wsroom.wire.emission import Room

RESUME = ("wsroom.1.resume", "wsroom.1")


def chat(adapter: MemoryAdapter | None = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("hush")
    async def hush(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)

    @app.on("leave quietly")
    async def leave_quietly(emitter: Emitter, message: str) -> None:
        await emitter.socket.leave(message)

    @app.on_join()
    async def anybody(socket: Socket, room: str) -> None:
        if room == "vip":
            raise Reject("members only", code="not_a_member")
        if room == "broken":
            raise KeyError(room)
        if room == "out":
            raise Disconnect(4000, "enough")
        if room == "slow":
            await asyncio.sleep(HOUR)

    return app


async def reconnect(client: TestClient, path: str = "/ws") -> TestConnection:
    return await client.connect(path, subprotocols=RESUME)


def received(connection: TestConnection) -> list[Any]:
    """Return all received frames in order: an app's message, or the name of a built-in event."""
    return [
        frame["message"] if frame["event"] == "said" else frame["event"]
        for frame in connection.frames[1:]
    ]


async def test_joins_come_first_then_replays_then_the_reply_then_what_is_live() -> None:
    """In this order on the wire, room by room, even if the app emits at every moment."""

    class Busy(MemoryAdapter):
        async def subscribe(self, room: Room) -> Offset | None:
            offset = await super().subscribe(room)
            if app is not None and room.name in ("chat", "news"):
                await app.to(room.name).emit("said", f"{room.name}, at the join")
            return offset

        async def read(
            self, room: Room, since: Offset | None = None, last: int | None = None
        ) -> Past:
            await self.publish(said("chat", f"before the read of {room.name}"))
            past = await super().read(room, since, last)
            await self.publish(said("chat", f"after the read of {room.name}"))
            return past

    app: WSRoom | None = None
    app = chat(Busy())
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", "news")
        await client.settle()
        await a.close()
        await app.to("chat").emit("said", "missed in chat")
        await app.to("news").emit("said", "missed in news")
        await app.to().emit("said", "missed on the path")
        b = await reconnect(client)
        assert b.subprotocol == "wsroom.1.resume"
        await app.to().emit("said", "held")
        a.offsets = {name: a.offsets[name] for name in ("news", "chat", "")}
        rooms = await b.resume(a)
        await app.to("chat").emit("said", "live")
        await client.settle()
        assert all(room["recovered"] for room in rooms.values())
        assert received(b) == [
            "missed in news",
            "news, at the join",
            "missed in chat",
            "chat, at the join",
            "before the read of news",
            "after the read of news",
            "before the read of chat",
            "missed on the path",
            "held",
            "reply",
            "after the read of chat",
            "before the read of ",
            "after the read of ",
            "live",
        ]
        assert b.offsets["chat"] == b.frames[-1]["offset"] != rooms["chat"]["offset"]


def said(room: str, message: Any) -> Emission:
    frame = {"event": "said", "message": message, "sender": None, "room": room or None}
    return Emission(Room("/ws", room), json.dumps(frame).encode())


async def test_a_flood_arrives_once_and_in_order() -> None:
    """However often the client reconnects during the flood, to either of two workers."""
    adapter = MemoryAdapter(history=10_000)
    apps = chat(adapter), chat(adapter)
    count = 0

    async def flood() -> None:
        nonlocal count
        while True:
            await apps[count % 2].to("chat").emit("said", count)
            count += 1
            await asyncio.sleep(0)

    async with TestClient(apps[0]) as one, TestClient(apps[1]) as two:
        connection = await one.connect()
        await connection.join("chat")
        flooding = asyncio.create_task(flood())
        messages: list[Any] = []
        for number in range(40):
            await until(lambda: len(connection.frames) > 5)  # noqa: B023
            earlier = connection
            messages += [frame["message"] for frame in earlier.frames if frame["event"] == "said"]
            offsets = dict(earlier.offsets)  # later frames are lost, as on a cut line
            connection = await reconnect((one, two)[number % 2])
            earlier.offsets = offsets
            rooms = await connection.resume(earlier)
            assert rooms["chat"]["recovered"]
            await earlier.close()
        flooding.cancel()
        await one.settle()
        await two.settle()
        messages += [frame["message"] for frame in connection.frames if frame["event"] == "said"]
        assert messages == list(range(count))


async def test_a_flood_arrives_once_and_in_order_over_the_wire(ws: str) -> None:
    """The same over real sockets, which are cut anywhere, also in the middle of a frame."""
    app = chat(MemoryAdapter(history=10_000))
    count = 0

    async def flood() -> None:
        nonlocal count
        while True:
            await app.to("chat").emit("said", count)
            count += 1
            await asyncio.sleep(TICK / 10)

    async with serve(app, ws=ws) as server:
        messages: list[Any] = []
        session, offset, flooding = "", "", asyncio.create_task(asyncio.sleep(0))
        for number in range(15):
            offered = [Subprotocol(name) for name in RESUME]
            async with connect(server.url(), subprotocols=offered, open_timeout=WAIT) as raw:
                client = Peer(raw)
                connected = await client.expect("connected")
                session = session or connected["session"]
                if number:
                    message = {"session": session, "rooms": {"chat": offset}}
                    await client.send("resume", message, id=1)
                else:
                    await client.join("chat")
                    flooding = asyncio.create_task(flood())
                frames = 0
                answered = not number
                while frames < 20 or not answered:
                    frame = await client.next()
                    if frame["event"] == "said":
                        messages.append(frame["message"])
                        offset = frame["offset"]
                        frames += 1
                    else:
                        answered = True
                        assert frame["message"]["rooms"]["chat"]["recovered"]
                raw.transport.abort()
        flooding.cancel()
        assert messages == list(range(len(messages))) and len(messages) >= 300


async def test_guards_decide_about_resumed_rooms() -> None:
    """Separately for each room; for rooms that the socket is in already, no guard is called."""
    app = chat(limits=Limits(rooms_per_socket=8))
    others = [f"another {number}" for number in range(5)]

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        await socket.join("vip", *others)

    async with TestClient(app) as client:
        a = await client.connect()
        assert a.offsets.keys() == {"", "vip", *others}
        await app.to("vip").emit("said", "to members")
        await client.settle()
        long = "x" * 129
        names = ["vip", "broken", "chat", "ws:1.2", long, "a\x00", "", "more", "one too many"]
        offsets = {name: a.offsets.get(name, "x") for name in names}
        b = await reconnect(client)
        await app.to("vip").emit("said", "while held")
        rooms = (await b.request("resume", {"rooms": offsets}))["rooms"]
        errors = {name: room.get("error") for name, room in rooms.items()}
        assert errors == {
            "vip": None,
            "broken": "internal",
            "chat": None,
            "ws:1.2": "bad_room",
            long: "bad_room",
            "a\x00": "bad_room",
            "": None,
            "more": None,
            "one too many": "too_many_rooms",
        }
        assert list(rooms) == names and rooms["vip"]["recovered"]
        assert received(b) == ["while held", "reply"]
        c = await client.connect(subprotocols=["wsroom.1"])
        await c.emit("resume", {"rooms": {"chat": "x", "out": "x"}}, id=1)
        assert await c.closed() == 4000


async def test_a_guard_that_takes_too_long_ends_the_resume() -> None:
    """A partial resume is worse than none: closed with 1013, and the client tries again."""
    app = chat(limits=Limits(handler_timeout=0.05))
    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await reconnect(client)
        await a.emit("resume", {"rooms": {"chat": "x", "slow": "x"}}, id=1)
        assert await a.closed() == 1013


async def test_the_session_is_kept_and_the_sender_never_hears_itself() -> None:
    """Through several reconnects, on two workers, whether replayed or live."""
    adapter = MemoryAdapter()
    apps = chat(adapter), chat(adapter)
    async with TestClient(apps[0]) as one, TestClient(apps[1]) as two:
        other = await one.connect()
        connection = await one.connect()
        session = connection.session
        for each in (other, connection):
            await each.join("chat")
        for number in range(6):
            await connection.emit("hush", f"my {number}")
            await other.emit("hush", f"other {number}")
            await one.settle()
            await two.settle()
            earlier = connection
            await earlier.close()
            await other.emit("hush", f"missed {number}")
            connection = await reconnect((two, one)[number % 2])
            await connection.resume(earlier)
            await other.emit("hush", f"live {number}")
            await one.settle()
            await two.settle()
            assert connection.session == session
            assert received(connection) == [f"missed {number}", "reply", f"live {number}"]
        theirs = [message for message in received(other) if message != "reply"]
        assert theirs == [f"my {number}" for number in range(6)]
        await connection.close()
        await other.close()
        assert not any(app._worker.hub.recipients.sessions for app in apps)


class Gated(MemoryAdapter):
    """Publishes messages that begin with "late" when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def publish(self, emission: Emission) -> None:
        if b'"late' in emission.payload:
            await self.gate.wait()
        await super().publish(emission)


@pytest.mark.parametrize("moment", ["held", "resumed"])
@pytest.mark.parametrize("where", ["chat", ""])
async def test_what_the_old_socket_still_emits_is_left_out(moment: str, where: str) -> None:
    """It is emitted late, when the new socket exists, and must not return to its sender."""
    adapter = Gated()
    app = chat(adapter)

    @app.on("late")
    async def late(emitter: Emitter) -> None:
        target = emitter.to("chat") if where else emitter
        await target.emit_except_sender("said", "late")

    async with TestClient(app) as client:
        a, other = await client.connect(), await client.connect()
        for each in (a, other):
            await each.join("chat")
        await a.emit("late")
        b = await reconnect(client)
        if moment == "held":
            adapter.gate.set()
            await other.expect("said")
            a.offsets = {"chat": a.offsets["chat"]}  # without the path
        await b.resume(a)
        adapter.gate.set()
        await app.to("chat").emit("said", "marker")
        await until(lambda: len(received(other)) == 3)
        await client.settle()
        assert [message for message in received(b) if message != "reply"] == ["marker"]
        assert received(other) in (["reply", "late", "marker"], ["reply", "marker", "late"])


async def test_what_went_to_the_path_and_to_several_rooms_is_replayed() -> None:
    """With the path's offset; only if the socket is in one of the rooms and not excluded."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", "news")
        await a.close()
        await app.to().emit("said", "path")
        await app.to("chat", "other").emit("said", "chat or other")
        await app.to("other", "more").emit("said", "other or more")
        await app.to().except_("chat").emit("said", "not in chat")
        await app.to("chat").except_("other").emit("said", "not in other")
        await app.to("chat", "news").emit("said", "chat or news")
        await app.to("other", a.id).emit("said", "other or the one that is gone")
        b = await reconnect(client)
        await app.to("chat", b.id).emit("said", "chat or me")
        await app.to().except_(b.id).emit("said", "all but me")
        rooms = await b.resume(a)
        path = ["path", "chat or other", "chat or news", "chat or me"]
        assert received(b) == [*path, "not in other", "reply"]
        offsets = [frame.get("offset") for frame in b.frames[1:6]]
        assert len(set(offsets)) == 5 and None not in offsets
        assert rooms[""]["offset"] == b.offsets[""] != offsets[3]
        await app.to("chat", "news").emit("said", "live")
        assert (await b.receive(timeout=1))["message"] == "path"
        await client.settle()
        assert b.frames[-1]["room"] is None
        assert b.offsets[""] == b.frames[-1]["offset"]


async def test_replayed_frames_are_what_they_were() -> None:
    """The same event, message, sender, room and offset; and the time of the emit."""
    app = chat()
    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        for each in (a, b):
            await each.join("chat")
        await a.emit("say", {"né": [1.5, None, "🎉"]})
        await client.settle()
        c = await reconnect(client)
        rooms = {"chat": b.frames[1]["message"]["offset"]}
        assert (await c.request("resume", {"rooms": rooms}))["rooms"]["chat"]["recovered"]
        assert c.frames[1].pop("time") > 1_500_000_000_000
        assert c.frames[1] == a.frames[-1] == b.frames[-1]
        assert c.frames[1]["sender"] == a.id and c.frames[1]["room"] == "chat"


async def test_messages_for_one_socket_have_no_offset_and_are_not_replayed() -> None:
    """A client does not get messages that were for its earlier socket."""
    app = chat()

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        await emitter.emit_to_sender("said", "welcome")

    async with TestClient(app) as client:
        a = await client.connect()
        await app.to(a.id).emit("said", "psst")
        await client.settle()
        assert [frame.get("offset") for frame in a.frames] == [None, None, None]
        await a.close()
        await app.to(a.id).emit("said", "gone")
        b = await reconnect(client)
        await app.to(b.id).emit("said", "held, as all that others emit")
        await client.settle()
        assert received(b) == ["welcome"]
        assert (await b.resume(a))[""]["recovered"]
        await client.settle()
        assert received(b) == ["welcome", "reply", "held, as all that others emit"]


async def test_what_cannot_be_recovered_is_reported() -> None:
    """Too old, unknown or invalid: no messages, the room's current offset, and live from there."""
    app = chat(MemoryAdapter(history=2))
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        start = a.offsets["chat"]
        for number in range(3):
            await app.to("chat").emit("said", number)
        for offset in (start, "", "x", "x:1", ":", start + "9", "é:" + "9" * 90, start[::-1]):
            b = await reconnect(client)
            rooms = (await b.request("resume", {"rooms": {"chat": offset}}))["rooms"]
            assert rooms["chat"] == {"recovered": False, "offset": a.offsets["chat"]}
            await app.to(b.id).emit("said", "marker")
            await client.settle()
            assert received(b) == ["reply", "marker"]
            await b.close()


async def test_without_history_nothing_missed_is_still_known() -> None:
    """`history=0` keeps the offsets of the rooms."""
    app = chat(MemoryAdapter(history=0))
    async with TestClient(app) as client:
        a, other = await client.connect(), await client.connect()
        await a.join("chat", "news")
        await other.join("chat")
        await a.close()
        await app.to("chat").emit("said", 1)
        rooms = await (await reconnect(client)).resume(a)
        assert [rooms[name]["recovered"] for name in ("", "news", "chat")] == [True, True, False]
        assert rooms["chat"]["offset"] == other.offsets["chat"]


@pytest.mark.parametrize(
    "count, size, recovered",
    [(300, 1, True), (301, 1, False), (3, 300_000, True), (3, 400_000, False)],
)
async def test_a_replay_is_300_messages_or_a_mebibyte(
    count: int, size: int, recovered: bool
) -> None:
    """All or nothing."""
    app = chat(MemoryAdapter(history=1000))
    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.join("chat")
        await a.close()
        for _ in range(count):
            await app.to("chat").emit("said", "x" * size)
        b = await reconnect(client)
        assert (await b.resume(a))["chat"]["recovered"] is recovered
        assert len(b.frames) == 2 + (count if recovered else 0)


async def test_room_frames_are_held_until_the_first_frame_is_handled() -> None:
    """Whichever frame it is; replies and other frames for the socket alone are not held."""
    app = chat()
    for event, answer in (("joinRoom", "reply"), ("nobody", "error"), ("say", "said")):
        async with TestClient(app) as client:
            a = await reconnect(client)
            await app.to().emit("said", "held")
            await client.settle()
            assert received(a) == []
            await a.emit("joinRoom" if event == "say" else event, "chat")
            await a.emit(event, "chat" if event == "joinRoom" else "mine", id=1)
            await client.settle()
            assert received(a)[0] == ("held" if answer != "error" else "error")
            assert "held" in received(a)


async def test_held_frames_are_released_after_a_time() -> None:
    """A client that offers to resume but sends nothing is live after 5 s."""
    app = chat(_timing=Timing(hold=0.05))
    async with TestClient(app, timeout=10 * SECOND) as client:
        a, b = await reconnect(client), await client.connect()
        await app.to().emit("said", 1)
        await b.expect("said")
        assert received(a) == []
        assert await a.expect("said") == 1
        await app.to().emit("said", 2)
        assert await a.expect("said") == 2


async def test_held_frames_are_bounded() -> None:
    """More than a slow socket may have unsent is written at once."""
    app = chat(limits=Limits(write_buffer=1000), _timing=Timing(hold=HOUR))
    async with TestClient(app) as client:
        a = await reconnect(client)
        for number in range(20):
            await app.to().emit("said", number)
        await client.settle()
        assert received(a) == list(range(20))


async def test_too_much_during_a_resume_closes() -> None:
    """It can neither be held nor be written: 1013, and the client tries again."""

    class Flooding(MemoryAdapter):
        async def read(
            self, room: Room, since: Offset | None = None, last: int | None = None
        ) -> Past:
            for number in range(20):
                await self.publish(said("", number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return await super().read(room, since, last)

    app = chat(Flooding(), limits=Limits(write_buffer=1000))
    async with TestClient(app) as client:
        a = await client.connect()
        b = await reconnect(client)
        await b.emit("resume", {"session": a.session, "rooms": {"": a.offsets[""]}}, id=1)
        assert await b.closed() == 1013
        assert [frame["event"] for frame in b.frames] == ["connected"]


async def test_rooms_that_are_live_already_are_answered_only() -> None:
    """For a plain client the path is live from the start; a replay would deliver twice."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", "news", "quiet")
        await a.close()
        for room in ("chat", "news"):
            await app.to(room).emit("said", f"missed in {room}")
        b = await client.connect()
        assert b.subprotocol is None
        await b.join("news", "quiet")
        rooms = await b.resume(a)
        recovered = {name: room["recovered"] for name, room in rooms.items()}
        assert recovered == {"": True, "chat": True, "news": False, "quiet": True}
        assert received(b) == ["reply", "reply", "missed in chat", "reply"]
        await app.to("chat").emit("said", "live in chat")
        await app.to().emit("said", "live on the path")
        # Once more, with the same offsets: nothing is delivered again.
        assert {name: room["recovered"] for name, room in (await b.resume(a)).items()} == recovered
        assert received(b)[4:] == ["live in chat", "live on the path", "reply"]
        await b.leave("chat")
        await app.to("chat").emit("said", "missed again")
        await b.join("chat")
        rooms = (await b.request("resume", {"rooms": {"chat": a.offsets["chat"]}}))["rooms"]
        assert rooms["chat"] == {"recovered": False, "offset": b.offsets["chat"]}


async def test_live_rooms_are_written_up_to_the_offset_in_the_reply() -> None:
    """Otherwise a client that is cut off after the reply would never get those messages."""

    class Busy(MemoryAdapter):
        async def read(
            self, room: Room, since: Offset | None = None, last: int | None = None
        ) -> Past:
            await self.publish(said("", f"at {room.name}"))
            await self.publish(said("chat", f"in chat at {room.name}"))
            return await super().read(room, since, last)

    async with TestClient(chat(Busy())) as client:
        a = await client.connect()
        await a.join("chat")
        b = await client.connect()
        rooms = {"": a.offsets[""], "chat": a.offsets["chat"]}
        answers = (await b.request("resume", {"rooms": rooms}))["rooms"]
        await client.settle()
        assert received(b) == ["in chat at ", "in chat at chat", "at ", "reply", "at chat"]
        assert not answers[""]["recovered"] and answers["chat"]["recovered"]
        assert b.offsets == {"": b.frames[-1]["offset"], "chat": b.frames[2]["offset"]}
        assert answers[""]["offset"] == b.frames[3]["offset"]


async def test_a_room_that_was_left_and_is_resumed_is_replayed_again() -> None:
    """It is no longer live; the socket's offset covers what it got before it left."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await app.to("chat").emit("said", 1)
        await client.settle()
        offset = a.offsets["chat"]
        await a.leave("chat")
        assert "chat" not in a.offsets
        await app.to("chat").emit("said", 2)
        rooms = (await a.request("resume", {"rooms": {"chat": offset}}))["rooms"]
        assert rooms["chat"]["recovered"] and received(a) == ["reply", 1, "reply", 2, "reply"]
        await app.to("chat").emit("said", 3)
        await client.settle()
        offset = a.offsets["chat"]
        assert (await a.request("leave quietly", "chat")) is None
        await app.to("chat").emit("said", 4)
        rooms = (await a.request("resume", {"rooms": {"chat": offset}}))["rooms"]
        assert received(a)[5:] == [3, "leftRoom", "reply", 4, "reply"]


MALFORMED: list[Any] = [
    *(None, 1, "x", [], {}, {"rooms": None}, {"rooms": []}, {"rooms": "chat"}),
    *({"rooms": {"chat": 1}}, {"rooms": {"chat": None}}, {"rooms": {"": {}}}),
    *({"rooms": {}, "session": 1}, {"rooms": {}, "session": ""}, {"rooms": {}, "session": []}),
    *({"rooms": {}, "session": "x" * 201}, {"rooms": {}, "session": "é" * 101}),
]


@pytest.mark.parametrize("message", MALFORMED, ids=lambda message: json.dumps(message)[:40])
async def test_a_malformed_resume_is_answered(message: Any) -> None:
    """With `invalid_message`; no room was joined, the connection stays and holds no frames."""
    app = chat()
    async with TestClient(app) as client:
        a = await reconnect(client)
        await app.to().emit("said", "held")
        with pytest.raises(Refused, match="invalid_message"):
            await a.request("resume", message)
        await client.settle()
        assert received(a) == ["error", "held"]
        assert (await a.request("resume", {"rooms": {}, "session": "é" * 100})) == {"rooms": {}}


async def test_a_resume_of_more_rooms_than_a_socket_may_have_is_refused() -> None:
    """It would be unbounded work; the maximum, and the path, are accepted."""
    app = chat(limits=Limits(rooms_per_socket=3))
    async with TestClient(app) as client:
        a = await reconnect(client)
        most = {"": "x", "chat": "x", "news": "x", "vip": "x"}
        with pytest.raises(Refused, match=r"invalid_message: .* 5 keys; at most 4 are allowed"):
            await a.request("resume", {"rooms": {**most, "one more": "x"}})
        assert app._worker.hub.room_names(app._worker.hub.members[a.id]) == set()
        answer = await a.request("resume", {"rooms": most})
        assert answer["rooms"].keys() == most.keys()


async def test_a_reply_that_cannot_be_sent_delivers_nothing_twice() -> None:
    """What was replayed is dropped from the held frames."""
    app = chat(limits=Limits(frame_size=4 * 1024 * 1024))
    async with TestClient(app) as client:
        a = await client.connect()
        await a.close()
        b = await reconnect(client)
        await app.to().emit("said", 1)
        name = "x" * 1024 * 1024  # the answer contains it too
        with pytest.raises(Refused, match="internal"):
            await b.request("resume", {"rooms": {"": a.offsets[""], name: "x"}})
        await app.to().emit("said", 2)
        await client.settle()
        assert received(b) == [1, "error", 2]


async def test_a_resume_without_an_id_is_not_answered() -> None:
    """It replays what was missed, and continues live."""
    app = chat()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.close()
        await app.to("chat").emit("said", "missed")
        b = await reconnect(client)
        await b.emit("resume", {"rooms": a.offsets})
        await client.settle()
        await app.to("chat").emit("said", "live")
        await client.settle()
        assert received(b) == ["missed", "live"]


async def test_hooks_run_after_the_reply() -> None:
    """on_joined for each room that the resume joined; what it emits is live."""
    app = chat()

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await emitter.to(room).emit("said", f"in {room}")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", "news")
        await client.settle()
        b = await reconnect(client)
        await b.join("news")
        await b.resume(a)
        await client.settle()
        assert received(b)[-2:] == ["reply", "in chat"]
        assert received(a)[-2:] == ["in news", "in chat"]


class Unavailable(MemoryAdapter):
    """Cannot reach its broker for the operations that the test names."""

    lost: frozenset[str] = frozenset()

    async def subscribe(self, room: Room) -> Offset | None:
        if f"subscribe {room.name}" in self.lost:
            raise AdapterError("the broker does not answer")
        return await super().subscribe(room)

    async def read(self, room: Room, since: Offset | None = None, last: int | None = None) -> Past:
        if f"read {room.name}" in self.lost:
            raise AdapterError("the broker does not answer")
        return await super().read(room, since, last)


async def test_a_room_that_cannot_be_joined_now_is_unavailable() -> None:
    """The other rooms are joined and replayed."""
    adapter = Unavailable()
    app = chat(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat", "news")
        await a.close()
        await app.to("chat").emit("said", "missed")
        adapter.lost = frozenset({"subscribe news"})
        b = await reconnect(client)
        rooms = await b.resume(a)
        assert rooms["news"] == {"error": "unavailable"} and rooms["chat"]["recovered"]
        assert received(b) == ["missed", "reply"]


async def test_a_room_that_cannot_be_read_now_closes() -> None:
    """It was joined, and its messages would be delivered twice or not at all: 1013."""
    adapter = Unavailable()
    app = chat(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        adapter.lost = frozenset({"read chat"})
        b = await reconnect(client)
        await b.emit("resume", {"rooms": a.offsets}, id=1)
        assert await b.closed() == 1013


async def test_a_hundred_rooms_are_joined_at_once() -> None:
    """Their subscriptions do not wait for each other."""

    class Together(MemoryAdapter):
        asked = 0
        all_asked = asyncio.Event()

        async def subscribe(self, room: Room) -> Offset | None:
            if room.name.startswith("room "):
                self.asked += 1
                if self.asked == 100:
                    self.all_asked.set()
                await self.all_asked.wait()
            return await super().subscribe(room)

    app = chat(Together())
    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await reconnect(client)
        rooms = {f"room {number}": "x" for number in range(100)}
        answer = await a.request("resume", {"rooms": rooms})
        assert [room["recovered"] for room in answer["rooms"].values()] == [False] * 100
        assert len(app._worker.hub.rooms) == 101


async def test_a_client_that_goes_during_its_resume_leaves_nothing() -> None:
    """No room, no session, no replay buffer."""

    class Slow(MemoryAdapter):
        gate = asyncio.Event()

        async def read(
            self, room: Room, since: Offset | None = None, last: int | None = None
        ) -> Past:
            await self.gate.wait()
            return await super().read(room, since, last)

    adapter = Slow()
    app = chat(adapter, _timing=Timing(read_beside_after=0.01, grace=0.01))
    async with TestClient(app) as client:
        a = await client.connect()
        b = await reconnect(client)
        await b.emit("resume", {"session": a.session, "rooms": {"chat": "x", "": "x"}}, id=1)
        await until(lambda: app._worker.hub.recipients.sessions)
        await b.close(timeout=10 * SECOND)
        hub = app._worker.hub
        assert not hub.recipients.sessions and list(hub.members) == [a.id] and len(hub.rooms) == 1


async def test_a_resume_that_is_handled_after_its_client_went_does_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waited behind a long handler; no room is joined, and nothing fails."""
    app = chat(_timing=Timing(read_beside_after=0.01))
    gate = asyncio.Event()

    @app.on("wait")
    async def wait(emitter: Emitter) -> None:
        await gate.wait()

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.emit("wait")
        await a.emit("resume", {"session": "abc", "rooms": {"chat": "x", "": "x"}})
        hub = app._worker.hub
        closing = asyncio.create_task(a.close())
        await until(lambda: not hub.members)
        gate.set()
        await closing
        assert not hub.recipients.sessions and len(hub.rooms) == 0
    assert caplog.text == ""


# -- readers on real sockets ----------------------------------------------------------------------


async def bulk(app: WSRoom) -> None:
    """Emit 900 kB to each of ten rooms."""
    for number in range(10):
        for _ in range(9):
            await app.to(f"room {number}").emit("bulk", "x" * 100_000)
            await asyncio.sleep(0)


async def test_a_large_replay_is_paced_and_arrives(ws: str) -> None:
    """Nine megabytes are more than a socket may have unsent; a healthy client gets all of it."""
    app = chat(limits=Limits(write_buffer=300_000))
    async with serve(app, ws=ws) as server:
        async with peer(server) as first:
            rooms = {}
            for number in range(10):
                answer = await first.request("joinRoom", f"room {number}")
                rooms[answer["room"]] = answer["offset"]
        await bulk(app)
        async with peer(server, subprotocols=list(RESUME)) as again:
            await again.send("resume", {"rooms": rooms}, id=1)
            for number in range(10):
                for _ in range(9):
                    assert (await again.next())["room"] == f"room {number}"
            answers = (await again.expect("reply"))["rooms"]
            assert all(answer["recovered"] for answer in answers.values())


async def test_a_reader_that_stops_during_its_replay_is_closed() -> None:
    """The next room waits for it for at most 5 s; then it is too slow: 1013."""
    app = chat(_timing=Timing(hold=0.2))
    codes: list[int] = []

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        codes.append(code)

    async with serve(app) as server:
        async with peer(server) as first:
            rooms = {}
            for number in range(10):
                answer = await first.request("joinRoom", f"room {number}")
                rooms[answer["room"]] = answer["offset"]
        await until(lambda: codes)
        codes.clear()
        await bulk(app)
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            options: dict[str, Any] = {"subprotocols": list(RESUME), "max_queue": 1}
            with contextlib.suppress(ConnectionClosed):
                async with peer(server, sock=raw, compression=None, **options) as again:
                    await again.send("resume", {"rooms": rooms}, id=1)
                    await until(lambda: codes)
                    again.websocket.transport.abort()
        assert codes == [1013]
