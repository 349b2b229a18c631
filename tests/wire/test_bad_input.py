"""Faults of peers and handlers, on real uvicorn; another member must not be affected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support.clock import HOUR, QUICK, SECOND, until
from tests.support.peers import WAIT, Peer, bare, count_pings, peer
from tests.support.servers import Server, serve
from tests.support.streams import encode, raw_peer
from wsroom import Emitter, Limits, Socket, WSRoom
from wsroom.timing import Timing


def room_app(**options: Any) -> WSRoom:
    """An app with a room, and handlers that fail in all kinds of ways."""
    app = WSRoom(**options)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("raise")
    async def fail(emitter: Emitter) -> None:
        raise KeyError("secret")

    @app.on("return")
    async def give(emitter: Emitter, message: Any) -> Any:
        return WRONG_VALUES[message]

    @app.on("emit")
    async def emit(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", WRONG_VALUES[message])

    return app


WRONG_VALUES = {
    "nan": float("nan"),
    "complex": 1j,
    "large": 2**70,
    "bytes": b"x",
    "object": object(),
}


class Scene:
    """A server, a bad client and a good one, both in the room "chat"."""

    def __init__(self, server: Server, bad: Peer, good: Peer) -> None:
        self.server = server
        self.bad = bad
        self.good = good
        self._said = 0

    async def fine(self) -> None:
        """Check that only this reached the good client, and that the bad one is connected."""
        self._said += 1
        await self.bad.send("say", self._said)
        frame = {"event": "said", "message": self._said, "sender": self.bad.id, "room": "chat"}
        assert bare(await self.bad.next()) == frame
        assert bare(await self.good.next()) == frame


@contextlib.asynccontextmanager
async def scene(app: WSRoom, **config: Any) -> AsyncIterator[Scene]:
    async with serve(app, **config) as server, peer(server) as bad, peer(server) as good:
        await bad.join("chat")
        await good.join("chat")
        yield Scene(server, bad, good)


def nested(depth: int) -> str:
    return '{"event":"say","message":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


NO_EVENTS: list[Any] = [None, True, 1, 1.5, [], {}, ""]
BAD_FRAMES: list[str | bytes] = [
    "",
    "hello",
    '{"event":',
    "[]",
    '"say"',
    "1",
    "null",
    "{}",
    '{"message":1}',
    *(json.dumps({"event": event}) for event in NO_EVENTS),
    json.dumps({"event": "e" * 65}),
    json.dumps({"event": "a\x00"}),
    json.dumps({"event": "a\x1b[31m"}),
    '{"event":"\\ud800"}',
    '{"event":"say","message":NaN}',
    b"\x00\x01",
    b'{"event":"say","message":1}',
    nested(65),
    nested(300),
    nested(1025),
]


@pytest.mark.parametrize("frame", BAD_FRAMES)
async def test_a_bad_frame_is_answered(
    frame: str | bytes, ws: str, quiet: pytest.LogCaptureFixture
) -> None:
    """`bad_frame`, with a sentence; the connection stays, and no other client is affected."""
    async with scene(room_app(), ws=ws) as s:
        await s.bad.raw(frame)
        error = await s.bad.error("bad_frame")
        assert error["message"]["detail"] and error["sender"] is None
        await s.fine()


async def test_nesting_up_to_the_cap_passes() -> None:
    """64 levels are handled like any other message."""
    async with scene(room_app()) as s:
        await s.bad.raw(nested(64))
        for client in (s.bad, s.good):
            assert json.dumps(await client.expect("said")).count("[") == 63


@pytest.mark.parametrize("event", ["nobody", "__class__", "constructor", "e" * 64, "\U0001f600"])
async def test_an_unknown_event_is_answered(event: str) -> None:
    """Names that are special elsewhere are not special here."""
    async with scene(room_app()) as s:
        await s.bad.send(event, 1, id="x")
        error = await s.bad.error("unknown_event")
        assert error["message"]["event"] == event and error["id"] == "x"
        await s.fine()


@pytest.mark.parametrize(
    "room",
    [None, True, 1, 1.5, [], ["chat"], {}, {"room": 5}, "", "x" * 129, "é" * 65, "a\x00"],
)
async def test_an_invalid_room_cannot_be_joined(room: Any) -> None:
    """`bad_room` for both joinRoom and leaveRoom."""
    async with scene(room_app()) as s:
        for event in ("joinRoom", "leaveRoom"):
            await s.bad.send(event, room)
            assert (await s.bad.error("bad_room"))["message"]["event"] == event
        await s.fine()


async def test_half_a_surrogate_pair_is_an_invalid_room() -> None:
    """JSON can write it, UTF-8 cannot."""
    async with scene(room_app()) as s:
        await s.bad.raw('{"event":"joinRoom","message":"\\ud800"}')
        await s.bad.error("bad_frame")
        await s.fine()


async def test_names_that_look_like_patterns_are_only_names() -> None:
    """Emoji, colons, braces and stars are rooms of their own."""
    app = room_app()
    async with scene(app) as s:
        for room in ("\U0001f600", "a:b", "{x}", "*", "x" * 128):
            await s.bad.join(room)
            await app.to(room).emit("told", room)
            assert await s.bad.expect("told") == room
        await s.fine()


async def test_another_sockets_id_cannot_be_joined() -> None:
    """A socket's id is for `to()` only: others could read its messages."""
    app = room_app()
    async with scene(app) as s:
        await s.bad.send("joinRoom", s.good.id)
        await s.bad.error("bad_room")
        await app.to(s.good.id).emit("told", "for you")
        assert await s.good.expect("told") == "for you"
        await s.fine()


async def test_sender_and_room_cannot_be_spoofed() -> None:
    """The server sets both; a client's values are ignored."""
    async with scene(room_app()) as s:
        await s.bad.send("say", "hi", sender=s.good.id, room="vip", offset="1:1")
        said = {"event": "said", "message": "hi", "sender": s.bad.id, "room": "chat"}
        for frame in (await s.good.next(), await s.bad.next()):
            assert bare(frame) == said and frame["offset"] != "1:1"


async def test_the_hundredth_room_is_the_last() -> None:
    """One more is `too_many_rooms`; after leaving a room another can be joined."""
    async with scene(room_app()) as s:
        for number in range(99):
            await s.bad.join(f"room {number}")
        await s.bad.send("joinRoom", "one more")
        await s.bad.error("too_many_rooms")
        await s.bad.join("chat")
        await s.bad.request("leaveRoom", "room 5")
        await s.bad.join("one more")
        await s.fine()


async def test_a_frame_over_the_limit_is_answered(ws: str) -> None:
    """64 KiB pass, one byte more is `too_large`; the connection stays."""
    frame = '{"event":"say","message":"%s"}'
    size = 64 * 1024 - len(frame) + 2
    async with scene(room_app(), ws=ws) as s:
        await s.bad.raw(frame % ("x" * (size + 1)))
        await s.bad.error("too_large")
        await s.bad.raw(frame % ("x" * size))
        for client in (s.bad, s.good):
            assert len(await client.expect("said")) == size
        await s.fine()


@pytest.mark.parametrize("event, message", [("say", ""), ("joinRoom", ""), ("resume", {})])
async def test_a_frame_over_the_limit_is_answered_with_its_id(
    event: str, message: Any, ws: str
) -> None:
    """Its sender learns of it, so it is no bad frame: any number of them is answered."""
    async with scene(room_app(limits=Limits(bad_frames=3)), ws=ws) as s:
        large = {"room": message, "text": "x" * 70_000}
        for number in range(10):
            first = {"id": number, "event": event, "message": large}
            last = {"event": event, "message": large, "id": f"x-{number}"}
            for frame in (first, last):
                await s.bad.raw(json.dumps(frame))
                assert (await s.bad.error("too_large"))["id"] == frame["id"]
        await s.fine()


async def test_frames_over_the_limit_without_an_id_are_bad_frames() -> None:
    """An id inside the message is not the frame's own."""
    async with scene(room_app(limits=Limits(bad_frames=2))) as s:
        message = {"text": "x" * 70_000, "id": 7}
        for _ in range(3):
            await s.bad.raw(json.dumps({"event": "say", "message": message}))
        for _ in range(3):
            assert "id" not in await s.bad.error("too_large")
        assert await s.bad.closed() == 1008


@pytest.mark.parametrize(
    "frame, id",
    [
        ('{"id":1,"event":"say"', 1),
        (b'{"id":2,"event":"say"}', 2),
        (b'{"event":"say","id":"\xc3\xa9"}', "é"),
        (b'{"id":"\xff","event":"say"}', None),
        (b"\x00\x01", None),
        (b"", None),
    ],
)
async def test_a_frame_that_cannot_be_read_is_answered_with_its_id(
    frame: str | bytes, id: str | int | None, ws: str
) -> None:
    """If it is not JSON, or binary."""
    async with scene(room_app(), ws=ws) as s:
        await s.bad.raw(frame)
        assert (await s.bad.error("bad_frame")).get("id") == id
        await s.fine()


async def test_a_frame_over_the_servers_own_limit_closes(ws: str) -> None:
    """uvicorn's `ws_max_size`: 1009, without an answer."""
    async with scene(room_app(), ws=ws, ws_max_size=100_000) as s:
        await s.bad.raw(json.dumps({"id": 1, "event": "say", "message": "x" * 100_000}))
        assert await s.bad.closed() == 1009
        await s.good.send("say", "still here")
        assert await s.good.expect("said") == "still here"


async def test_too_many_bad_frames_end_the_connection(ws: str) -> None:
    """Ten in a minute are answered, the eleventh closes with 1008; others are not affected."""
    async with scene(room_app(), ws=ws) as s:
        for _ in range(10):
            await s.bad.raw("x")
            await s.bad.error("bad_frame")
        await s.fine()
        await s.bad.raw("x")
        assert await s.bad.closed() == 1008
        await s.good.send("say", "still here")
        assert await s.good.expect("said") == "still here"


@pytest.mark.parametrize(
    "event, message", [("raise", None), *((e, v) for e in ("return", "emit") for v in WRONG_VALUES)]
)
async def test_a_handler_that_fails_is_answered(
    event: str, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """`internal` without the reason, which is in the log with its traceback."""
    async with scene(room_app()) as s:
        await s.bad.send(event, message, id=1)
        error = await s.bad.error("internal")
        assert error["id"] == 1 and "secret" not in json.dumps(error)
        await s.fine()
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 1 and logged[0].exc_info


async def test_a_handler_over_its_budget_is_answered(ws: str) -> None:
    """`timeout`; the frames behind it are handled."""
    app = room_app(limits=Limits(handler_timeout=0.3))

    @app.on("hang")
    async def hang(emitter: Emitter) -> None:
        await asyncio.sleep(HOUR)

    async with scene(app, ws=ws) as s:
        await s.bad.send("hang", id=1)
        assert (await s.bad.error("timeout"))["id"] == 1
        await s.fine()


async def test_a_long_handler_outlives_the_keepalive(
    ws: str, quiet: pytest.LogCaptureFixture
) -> None:
    """While a handler waits, pongs are read: a healthy client is not ended with 1011.

    uvicorn pings 0.4 s after each pong here and gives up 1.5 s after a ping, so the handler runs
    for longer than a connection would survive on which nothing is read.
    """
    app = room_app(limits=Limits(handler_timeout=HOUR))
    gate = asyncio.Event()

    @app.on("busy")
    async def busy(emitter: Emitter) -> str:
        await gate.wait()
        return "done"

    config = {"ws": ws, "ws_ping_interval": 0.4, "ws_ping_timeout": 1.5}
    async with scene(app, **config) as s:
        pinged = count_pings(s.bad)
        await s.bad.send("busy", id=1)
        await s.bad.send("say", "second")
        await s.bad.send("say", "third")
        await until(lambda: pinged() >= 8)
        gate.set()
        assert (await s.bad.next())["message"] == "done"
        for text in ("second", "third"):
            assert await s.bad.expect("said") == text == await s.good.expect("said")
        await s.fine()


@pytest.mark.parametrize("busy", [False, True])
async def test_a_client_that_answers_no_pings_is_ended(busy: bool, ws: str) -> None:
    """By uvicorn, with 1011, whether or not a handler runs; the hooks run."""
    app = room_app(_timing=Timing(read_beside_after=0.01, grace=0.1))
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.on("busy")
    async def wait(emitter: Emitter) -> None:
        begun.set()
        await asyncio.sleep(HOUR)

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        ended.set()

    config = {"ws": ws, "ws_ping_interval": 0.1, "ws_ping_timeout": 0.2}
    async with serve(app, **config) as server, raw_peer(server.url()) as silent:
        if busy:
            silent.writer.write(encode(0x81, b'{"event":"busy"}'))
            await asyncio.wait_for(begun.wait(), WAIT)
        assert (await silent.end()).code == 1011
        await asyncio.wait_for(ended.wait(), WAIT)


async def test_a_flood_of_one_client_does_not_block_others(ws: str) -> None:
    """Thousands of frames of one client are handled in turns with those of others."""
    app = room_app(limits=Limits(frames=100_000, burst=100_000))
    order: list[str] = []

    @app.on("count")
    async def count(emitter: Emitter, message: str) -> None:
        order.append(message)

    async with scene(app, ws=ws) as s:
        frame = json.dumps({"event": "count", "message": "bad"})
        flood = asyncio.create_task(send_all(s.bad, [frame] * 5000))
        await until(lambda: "bad" in order)
        await s.good.request("count", "good")
        await flood
        await s.bad.request("count", "last")
        assert order.index("good") < 4500 and order.count("bad") == 5000


async def send_all(client: Peer, frames: list[str]) -> None:
    for frame in frames:
        await client.raw(frame)


async def test_a_correct_refusal_leaves_no_error(ws: str, quiet: pytest.LogCaptureFixture) -> None:
    """401, 403, 404 and 426 are not logged as errors."""
    from tests.support.servers import get
    from wsroom import Reject

    app = room_app()

    @app.on_connect(path="/private")
    async def on_connect(socket: Socket) -> None:
        raise Reject("log in", status=401)

    async with serve(app, ws=ws) as server:
        for path, status, headers in (
            ("/private", 401, {}),
            ("/nowhere", 404, {}),
            ("/ws", 403, {"Origin": "https://evil.example"}),
        ):
            with pytest.raises(Exception, match=f"HTTP {status}"):
                async with connect(server.url(path), additional_headers=headers):
                    pass
        assert (await get(server, "/ws"))[0] == 426


async def test_a_thousand_clients_that_vanish_leave_nothing(
    ws: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each joins and resets its TCP connection: on_disconnect once each, no room, no traceback."""
    app = room_app()
    ended: Counter[str] = Counter()
    left: Counter[str] = Counter()

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        left[emitter.socket.id] += 1

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        ended[socket.id] += 1

    hub = app._worker.hub
    async with serve(app, ws=ws, backlog=2048) as server:
        async with peer(server) as good:
            await good.join("chat")
            for _ in range(10):
                await asyncio.gather(*(vanish(server) for _ in range(100)))
            await until(lambda: len(ended) == 1000)
            await until(lambda: len(hub.members) == 1)
            assert hub.room_names(hub.members[good.id]) == {"chat"} and len(hub.rooms) == 2
            await good.send("say", 1)
            assert await good.expect("said") == 1
        await until(lambda: len(ended) == 1001)
        assert set(ended.values()) == {1} and set(left.values()) == {1}
        assert len(hub.rooms) == 0
    problems = [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]
    assert not problems, problems


async def vanish(server: Server) -> None:
    """Shake hands, join a room, wait for the reply, and reset the connection."""
    async with asyncio.timeout(30 * SECOND):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        text = b'{"event":"joinRoom","message":"chat","id":1}'
        # A masked text frame with a mask of zeros (RFC 6455, section 5.2).
        writer.write(struct.pack("!BB4x", 0x81, 0x80 | len(text)) + text)
        await reader.readuntil(b'"room":null,"id":1}')
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def test_a_peer_that_never_reads_is_closed(ws: str) -> None:
    """Over a mebibyte unsent that does not shrink: it is closed, others are not delayed."""
    app = room_app(_timing=QUICK)
    codes: list[int] = []
    ended = asyncio.Event()

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        codes.append(code)
        ended.set()

    async with scene(app, ws=ws) as s:
        _, writer = await asyncio.open_connection("127.0.0.1", s.server.port, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await until(lambda: len(app._worker.hub.members) == 3)
        for _ in range(200):
            await app.to().emit("bulk", "x" * 100_000)
            for client in (s.bad, s.good):
                assert len(await client.expect("bulk")) == 100_000
        await s.fine()
        await asyncio.wait_for(ended.wait(), WAIT)
        assert codes == [1013]
        writer.transport.abort()
        await s.fine()
