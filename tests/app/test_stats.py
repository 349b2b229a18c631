"""`WSRoom.stats`: each number follows what happened, exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.clock import until
from tests.support.peers import peer
from tests.support.servers import serve
from wsroom import Disconnect, Emitter, Limits, Reject, Router, Socket, Stats, WSRoom
from wsroom.adapters import RESYNC, Emission, Room
from wsroom.delivery.outbox import FEW
from wsroom.delivery.writer import TOO_SLOW
from wsroom.testing import Refused, TestClient


def chat(**options: Any) -> WSRoom:
    app = WSRoom(**options)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)

    @app.on("ask")
    async def ask(emitter: Emitter, message: Any) -> Any:
        if message == "no":
            raise Reject("no", code="refused")
        if message == "out":
            raise Disconnect(4000)
        return message

    @app.on("look", path="/t/{tenant}", concurrent=True)
    async def look(emitter: Emitter) -> None: ...

    @app.on_connect()
    async def check(socket: Socket) -> None:
        if "reject" in socket.query:
            raise Reject(status=401)
        if "fail" in socket.query:
            raise KeyError

    return app


async def test_a_new_app_has_counted_nothing() -> None:
    """All numbers are zero, and the adapter is up."""
    stats = chat().stats()
    assert (stats.rooms, stats.memberships, stats.frames_in, stats.frames_out) == (0, 0, 0, 0)
    assert stats.connections == {"/ws": 0, "/t/{tenant}": 0} == stats.opened
    assert stats.adapter_up and stats.adapter_lag is None and stats.adapter_waiting == 0
    assert stats.gaps == {"filled": 0, "lost": 0} and stats.handlers == {}


async def test_connections_and_rooms_are_counted_while_they_last() -> None:
    """By the path as it was registered; a room while it has members."""
    app = chat()
    async with TestClient(app) as client:
        a, b = await client.connect("/ws"), await client.connect("/ws")
        await client.connect("/t/acme")
        for one in (a, b):
            await one.join("chat")
        await b.join("other")
        stats = app.stats()
        assert stats.connections == {"/ws": 2, "/t/{tenant}": 1}
        assert (stats.rooms, stats.memberships) == (2, 3)
        await b.close()
        await client.settle()
        stats = app.stats()
        assert stats.connections == {"/ws": 1, "/t/{tenant}": 1}
        assert stats.opened == {"/ws": 2, "/t/{tenant}": 1}
        assert (stats.rooms, stats.memberships) == (1, 1)
    stats = app.stats()
    assert (stats.rooms, stats.memberships, sum(stats.connections.values())) == (0, 0, 0)


async def test_events_are_counted_by_path_and_event() -> None:
    """With and without an id; all that no handler is for under one name."""
    app = chat()
    async with TestClient(app) as client:
        a, b = await client.connect("/ws"), await client.connect("/t/acme")
        for _ in range(3):
            await a.emit("say", "hi")
        await a.request("ask", 1)
        await a.join("chat")
        for number in range(200):
            await a.send_text(json.dumps({"event": f"made up {number}"}))
        await b.request("look")
        with pytest.raises(Refused):
            await a.request("ask", "no")
        stats = app.stats()
    assert stats.events["/ws"] == {"say": 3, "ask": 2, "joinRoom": 1, "*": 200}
    assert stats.events["/t/{tenant}"] == {"look": 1}
    assert stats.frames_in == 207
    assert stats.errors == {"unknown_event": 200, "refused": 1}


@pytest.mark.parametrize("direct", [True, False])
async def test_bytes_and_frames_are_those_on_the_wire(direct: bool) -> None:
    """On a real server; if frames are read at the transport, with their headers."""
    app = chat(direct=direct)
    plain: Any = {"compression": None}
    async with serve(app) as server, peer(server, **plain) as a, peer(server, **plain) as b:
        await a.join("chat")
        await b.join("chat")
        before = app.stats()
        text = json.dumps({"event": "say", "message": "é" * 20}, ensure_ascii=False)
        await a.websocket.send(text)
        received = await b.websocket.recv()
        after = app.stats()
    assert after.bytes_in - before.bytes_in == len(text.encode()) + (6 if direct else 0)
    assert after.frames_in - before.frames_in == 1
    assert after.frames_out - before.frames_out == 1  # not to the sender
    assert isinstance(received, str) and len(received.encode()) > 125
    assert after.bytes_out - before.bytes_out == len(received.encode()) + 4


@pytest.mark.parametrize("members", [FEW, FEW + 5])
async def test_each_recipient_of_a_message_is_counted(members: int) -> None:
    """In small and large rooms, with senders left out, several messages in a tick."""
    app = chat()
    async with TestClient(app) as client:
        sockets = [await client.connect() for _ in range(members)]
        outsider = await client.connect()
        for one in sockets:
            await one.join("chat")
        before = app.stats()
        await sockets[0].emit("say", "one")
        await outsider.emit("say", "two")
        await app.to("chat").emit("three")
        await client.settle()
        after = app.stats()
        got = [
            [frame["event"] for frame in one.frames if frame["event"] in ("said", "three")]
            for one in sockets
        ]
    assert got == [["said", "three"], *[["said", "said", "three"]] * (members - 1)]
    assert after.frames_out - before.frames_out == sum(map(len, got))
    payloads = 0
    for one in sockets:
        for frame in one.frames:
            if frame["event"] in ("said", "three"):
                payloads += len(json.dumps(frame, separators=(",", ":"))) + 2
    # Headers of 2 bytes are those of frames under 126 bytes, and of 4 of longer ones.
    assert payloads <= after.bytes_out - before.bytes_out <= payloads + 2 * sum(map(len, got))


async def test_bad_frames_and_errors_are_counted() -> None:
    """What cannot be read has no event, and counts as a bad frame."""
    app = chat(limits=Limits(bad_frames=2, frame_size=1000))
    async with TestClient(app) as client:
        a = await client.connect()
        for _ in range(3):
            await a.send_text("{")
        await until(lambda: a.close_code)
        await client.settle()
        stats = app.stats()
    assert (stats.bad_frames, stats.frames_in, stats.events["/ws"]) == (3, 3, {})
    assert stats.errors == {"bad_frame": 3}
    assert stats.closes == {("server", "1008"): 1}


async def test_refusals_are_counted_by_reason() -> None:
    """Each refused handshake, once; accepted ones are not among them."""
    app = chat()
    async with TestClient(app) as client:
        for path, query, headers in (
            ("/nowhere", {}, {}),
            ("/ws", {"reject": "1"}, {}),
            ("/ws", {"fail": "1"}, {}),
            ("/ws", {}, {"origin": "https://evil.example", "host": "good.example"}),
        ):
            with pytest.raises(Refused):
                await client.connect(path, query=query, headers=headers)
        await client.connect()
        stats = app.stats()
    assert stats.refusals == {"path": 1, "rejected": 1, "failed": 1, "origin": 1}
    assert stats.opened["/ws"] == 1


async def test_closes_are_counted_by_side_and_code() -> None:
    """Codes that clients make up share two names."""
    app = chat()
    async with serve(app) as server:
        for code in (1000, 3001, 3999, 4999):
            async with peer(server) as one:
                await one.websocket.close(code)
        async with peer(server) as one:
            await one.send("ask", "out")
            assert await one.closed() == 4000
        await until(lambda: app.stats().connections["/ws"] == 0)
        stats = app.stats()
    assert stats.closes == {
        ("client", "1000"): 1,
        ("client", "3xxx"): 2,
        ("client", "4xxx"): 1,
        ("server", "4000"): 1,
    }


async def test_resumes_and_gaps_are_counted_by_outcome() -> None:
    """A room is recovered, lost or refused; a resync is a lost gap."""
    app = chat()

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        if room == "vip":
            raise Reject

    async with TestClient(app) as client:
        a = await client.connect()
        reply = await a.request("joinRoom", "chat")
        rooms = {"chat": reply["offset"], "vip": reply["offset"], "old": "x:1"}
        b = await client.connect()
        await b.request("resume", {"session": "s", "rooms": rooms})
        app._worker.hub.deliver(Emission(Room("/ws", "chat"), b"", kind=RESYNC), None)
        stats = app.stats()
    assert stats.resumes == {"recovered": 1, "refused": 1, "lost": 1}
    assert stats.gaps == {"filled": 0, "lost": 1}


async def test_codes_that_an_app_makes_up_are_bounded() -> None:
    """After 100 codes, all others are one."""
    app = WSRoom()

    @app.on("fail")
    async def fail(emitter: Emitter, message: str) -> None:
        raise Reject(code=message)

    async with TestClient(app) as client:
        a = await client.connect()
        for number in range(150):
            await a.emit("fail", f"code_{number}")
        await client.settle()
        errors = app.stats().errors
    assert len(errors) == 101 and errors["other"] == 50


async def test_two_apps_with_one_router_count_by_themselves() -> None:
    """What an app counts is not in what it includes."""
    router = Router()

    @router.on("hi")
    async def hi(emitter: Emitter) -> None: ...

    one, other = WSRoom(), WSRoom()
    one.include(router)
    other.include(router)
    async with TestClient(one) as client:
        await (await client.connect()).request("hi")
    assert one.stats().events == {"/ws": {"hi": 1}}
    assert other.stats().events == {"/ws": {}}


def test_the_numbers_cannot_be_changed() -> None:
    """Stats are a value."""
    stats = WSRoom().stats()
    assert isinstance(stats, Stats)
    with pytest.raises(AttributeError):
        stats.rooms = 5  # type: ignore[misc]


async def test_slow_sockets_and_rates_have_their_own_numbers() -> None:
    """They are among the closes and the errors, too."""
    app = WSRoom()

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        connection: Any = emitter.socket._connection
        connection.give_up(*TOO_SLOW)

    @app.on("fast")
    async def fast(emitter: Emitter) -> None:
        raise Reject(code="rate_limited")

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        await a.emit("fast")
        await a.emit("slow")
        await b.emit("fast")
        await until(lambda: a.close_code)
        await client.settle()
        stats = app.stats()
    assert (stats.slow_closes, stats.rate_limited) == (1, 2)
    assert stats.closes == {("server", "1013"): 1} and stats.errors == {"rate_limited": 2}
