"""The link, compared with uvicorn's own way, which gets the same bytes: the same frames and codes.

`WSROOM_FUZZ=1000` runs so many random clients instead of a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import ssl
import tracemalloc
import zlib
from socket import SO_LINGER, SO_RCVBUF, SOL_SOCKET, socket
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.frames import Frame

from tests.support.certificates import Certificate
from tests.support.clock import SECOND, until
from tests.support.loops import LOOPS, run
from tests.support.peers import WAIT, count_pings, peer
from tests.support.servers import serve
from tests.support.streams import HANDSHAKE, Heard, Stream, encode, raw_peer, raw_peer_early
from wsroom import Emitter, Limits, Socket, WSRoom
from wsroom.connection.inbox import Inbox
from wsroom.direct.link import Link
from wsroom.timing import Timing

LIMIT = 64 * 1024
CLIENTS = int(os.environ.get("WSROOM_FUZZ", "32"))


def sizes(direct: bool, context: bool = True, write_buffer: int = Limits().write_buffer) -> WSRoom:
    limits = Limits(frame_size=LIMIT, bad_frames=10_000, write_buffer=write_buffer)
    app = WSRoom(direct=direct, deflate_context=context, limits=limits)

    @app.on("size")
    async def size(emitter: Emitter, message: object) -> object:
        return len(message) if isinstance(message, str) else None

    return app


async def play(url: str, seed: int, context: ssl.SSLContext | None) -> Heard:
    """Be one random client; return what it received."""
    deflate = ("", "context", "fresh")[seed % 3]
    stream = Stream(seed, deflate, LIMIT)
    async with raw_peer(url, deflate, context) as peer:
        for _ in range(stream.random.randrange(1, 5)):
            batch = b"".join(stream.message() for _ in range(stream.random.randrange(1, 12)))
            await peer.send(stream.cut(batch + stream.request()))
            await peer.wait_for(stream.last)
        await peer.send(stream.cut(stream.ending()))
        return await peer.end()


PLACES = [(loop, tls) for loop in LOOPS for tls in (False, True)]


@pytest.mark.slow
@pytest.mark.timeout(60 + CLIENTS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]}{'-tls' * place[1]}")
def test_both_ways_in_are_the_same(place: tuple[str, bool], certificate: Certificate) -> None:
    """Random clients get the same answers, pongs and close codes; a quarter of them each."""
    loop, tls = place
    seeds = range(PLACES.index(place), CLIENTS, len(PLACES))
    run(loop, compare(seeds, certificate if tls else None))


async def compare(seeds: range, certificate: Certificate | None) -> None:
    context = certificate.context if certificate else None
    files = {"ssl_certfile": certificate.file} if certificate else {}
    scheme = "wss" if certificate else "ws"
    async with serve(sizes(True), **files) as direct, serve(sizes(False), **files) as ordinary:
        for seed in seeds:
            ours, model = await asyncio.gather(
                *(play(server.url("/ws", scheme), seed, context) for server in (direct, ordinary))
            )
            assert ours == model, f"client {seed}"


# -- when it is used ----------------------------------------------------------------------------


def sources(app: WSRoom) -> set[type]:
    """The kinds of sources of the app's connections."""
    writers: Any = app._worker.hub.members.values()
    return {type(writer._connection.source) for writer in writers}


@pytest.mark.parametrize(
    ("ws", "direct", "kind", "says"),
    [
        ("websockets-sansio", True, Link, "frames are read from uvicorn"),
        ("wsproto", True, Inbox, "frames come through ASGI's receive: the server has no"),
        ("websockets-sansio", False, Inbox, None),
    ],
)
async def test_the_log_says_which_way_and_why(
    ws: str,
    direct: bool,
    kind: type,
    says: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line a worker; on the pinned versions of uvicorn and websockets the link is active."""
    caplog.set_level(logging.INFO, "wsroom")
    app = sizes(direct)
    async with serve(app, ws=ws) as server:
        for _ in range(2):
            async with peer(server) as a:
                await a.send("size", "abc", id=1)
                assert await a.expect("reply") == 3
                assert sources(app) == {kind}
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("frames")]
    assert len(said) == (says is not None) and all(line.startswith(says or "") for line in said)


class Longer(WebSocketsSansIOProtocol):
    """A release of uvicorn whose messages are longer."""

    def handle_text(self, event: Frame) -> None:
        event.data = bytes(event.data) + b" "
        super().handle_text(event)


class Silent(WebSocketsSansIOProtocol):
    """A release that does not answer pings while it does not read."""

    def handle_ping(self) -> None:
        if self.read_paused:
            self.conn.data_to_send()
        else:
            super().handle_ping()


class Failing(WebSocketsSansIOProtocol):
    """A release that fails on binary messages."""

    def handle_bytes(self, event: Frame) -> None:
        raise LookupError("changed")


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (Longer, "the self-test has found a difference: frames"),
        (Silent, "the self-test has found a difference: written"),
        (Failing, "the self-test failed: LookupError('changed')"),
    ],
)
async def test_a_server_that_behaves_otherwise_is_not_taken_over(
    release: type[asyncio.Protocol], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The self-test finds what `misfit` cannot see; the app is served the ordinary way."""
    caplog.set_level(logging.INFO, "wsroom")
    app = sizes(True)
    async with serve(app, ws=release) as server, peer(server) as a:
        await a.send("size", "abc", id=1)
        assert await a.expect("reply") == 3
        assert sources(app) == {Inbox}
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("frames")]
    assert said == [f"frames come through ASGI's receive: {reason}"]


async def test_the_self_test_is_not_seen(caplog: pytest.LogCaptureFixture) -> None:
    """No line in the server's log is about its connections; it runs once for all that come."""
    caplog.set_level(logging.DEBUG)
    app = sizes(True)
    async with serve(app) as server:
        async with peer(server) as a, peer(server) as b:
            for each in (a, b):
                await each.send("size", "abc", id=1)
                assert await each.expect("reply") == 3
            assert sources(app) == {Link} and len(app._worker._self_tests) == 1
            assert len(server.server_state.connections) == 2
    assert caplog.text.count("[accepted]") == 2


async def test_it_serves_a_mounted_app_too() -> None:
    """Starlette wraps `send`, not `receive`."""
    rt = sizes(True)
    api = Starlette(routes=[Mount("/rt", rt)], lifespan=rt.lifespan)
    async with serve(api) as server, peer(server, "/rt/ws") as a:
        await a.send("size", "abc", id=1)
        assert await a.expect("reply") == 3
        assert sources(rt) == {Link}


EARLY = b'{"event":"size","message":"x","id":7}'


@pytest.mark.parametrize(
    "stream",
    [
        encode(0x81, EARLY),
        encode(0x01, EARLY[:9]) + encode(0x8A, b"pong") + encode(0x80, EARLY[9:]),
        encode(0x81, EARLY + b" " * 126),
    ],
    ids=["short", "fragments", "long"],
)
async def test_bytes_before_the_handshake_is_answered_are_not_lost(stream: bytes) -> None:
    """A client that does not wait, and may have sent a part of a frame, takes the ordinary way."""
    app = sizes(True)
    sent, answer = asyncio.Event(), asyncio.Event()

    @app.on_connect()
    async def wait(socket: Socket) -> None:
        sent.set()
        await answer.wait()

    async def play(early: bytes, rest: bytes) -> None:
        sent.clear()
        answer.clear()
        peer = await raw_peer_early(server.url(), early, sent, answer)
        await peer.send([rest])
        await peer.wait_for("reply 1 7")
        assert peer.heard.texts == ["reply 1 7"]
        assert sources(app) == {Inbox if early else Link}
        await peer.send([encode(0x88, b"\x03\xe8")])
        assert (await peer.end()).code == 1000
        await until(lambda: not sources(app))

    async with serve(app) as server:
        for cut in range(len(stream) + 1):
            await asyncio.wait_for(play(stream[:cut], stream[cut:]), WAIT)


@pytest.mark.parametrize("deflate", ["", "context", "fresh"])
@pytest.mark.parametrize("rest", ["the rest", "another message"])
async def test_a_fragment_before_the_handshake_is_answered(deflate: str, rest: str) -> None:
    """The message that it begins is not forgotten, although it ends at the end of a frame."""
    app = sizes(True)
    sent, answer = asyncio.Event(), asyncio.Event()

    @app.on_connect()
    async def wait(socket: Socket) -> None:
        sent.set()
        await answer.wait()

    data, first = EARLY, 0x01
    if deflate:
        compressor = zlib.compressobj(wbits=-12)
        data = (compressor.compress(EARLY) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        first = 0x41
    async with serve(app) as server:
        early = encode(first, data[:9])
        peer = await raw_peer_early(server.url(), early, sent, answer, deflate)
        if rest == "the rest":
            await peer.send([encode(0x80, data[9:])])
            await peer.wait_for("reply 1 7")
            assert peer.heard.texts == ["reply 1 7"]
            await peer.send([encode(0x88, b"\x03\xe8")])
            assert (await peer.end()).code == 1000
        else:
            await peer.send([encode(0x81, EARLY)])
            assert (await peer.end()).code == 1002
            assert not peer.heard.texts


@pytest.mark.parametrize("loop", LOOPS)
def test_it_serves_tls(
    loop: str, certificate: Certificate, quiet: pytest.LogCaptureFixture
) -> None:
    """Transports of asyncio's loop for TLS fail when they are asked after their second close."""
    run(loop, serve_tls(certificate))


async def serve_tls(certificate: Certificate) -> None:
    app = sizes(True)

    @app.on_disconnect()
    async def lost(socket: Socket, code: int) -> None:
        await until(lambda: not server.server_state.connections)

    async with serve(app, ssl_certfile=certificate.file) as server:
        for _ in range(3):
            async with connect(server.url("/ws", "wss"), ssl=certificate.context) as websocket:
                await websocket.recv()
                await websocket.send('{"event":"size","message":"abc","id":1}')
                assert json.loads(await websocket.recv())["message"] == 3
                assert sources(app) == {Link}
        await until(lambda: not server.server_state.tasks)


# -- what a client cannot do to others ------------------------------------------------------------


async def test_a_flood_of_frames_lets_others_in() -> None:
    """Another client's request is answered long before all of a client's frames are."""
    app = WSRoom(limits=Limits(frames=100_000, burst=100_000))
    handled = 0

    @app.on("flood")
    async def flood(emitter: Emitter) -> None:
        nonlocal handled
        handled += 1

    @app.on("ask")
    async def ask(emitter: Emitter) -> int:
        return handled

    count = 20_000
    async with serve(app) as server, raw_peer(server.url()) as bad, peer(server) as good:
        bad.writer.write(encode(0x81, b'{"event":"flood"}') * count)
        await until(lambda: handled)
        await good.send("ask", id=1)
        assert await good.expect("reply") < count / 4
        await until(lambda: handled == count)


async def test_a_stop_does_not_wait_for_frames_that_are_queued() -> None:
    """They are dropped, so a server with a slow handler ends within the graces."""
    timing = Timing(grace=SECOND / 2)
    app = WSRoom(_timing=timing)
    handled = asyncio.Event()

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        handled.set()
        await asyncio.Event().wait()

    async with serve(app) as server, raw_peer(server.url()) as bad:
        bad.writer.write(encode(0x81, b'{"event":"slow"}') * 10_000)
        await asyncio.wait_for(handled.wait(), WAIT)
        server.should_exit = True
        heard = await bad.end()
        assert heard.code == 1012
        async with asyncio.timeout(timing.grace + 2 * SECOND):
            await until(lambda: not server.server_state.tasks)


async def test_frames_before_a_clean_close_are_handled() -> None:
    """As a page does that saves its work when it is closed; after a reset they are dropped."""
    app = WSRoom()
    saved: list[object] = []
    gone = asyncio.Event()

    @app.on("save")
    async def save(emitter: Emitter, message: int) -> None:
        await asyncio.sleep(0)
        saved.append(message)

    @app.on_disconnect()
    async def ended(socket: Socket, code: int) -> None:
        gone.set()

    frames = b"".join(
        encode(0x81, b'{"event":"save","message":%d}' % number) for number in range(50)
    )
    async with serve(app) as server:
        async with raw_peer(server.url()) as a:
            a.writer.write(frames + encode(0x88, b"\x03\xe9"))
            assert (await a.end()).code == 1001
            await asyncio.wait_for(gone.wait(), WAIT)
        assert saved == list(range(50))


async def test_pongs_that_are_never_read_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Reading pauses, and then the connection is given up, like any slow one."""
    most = 256 * 1024  # asyncio's loop takes long to count the bytes of many small writes
    async with serve(sizes(True, write_buffer=most)) as server, peer(server) as good:
        raw = socket()
        raw.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)  # else the system keeps megabytes of pongs
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        flood = encode(0x89, b"x" * 125) * 1000
        sending = asyncio.create_task(send_for_ever(writer, flood))
        await until(lambda: "too slow" in caplog.text)
        buffered = [c.transport.get_write_buffer_size() for c in server.server_state.connections]
        assert max(buffered) < 2 * most
        await good.send("size", "abc", id=1)
        assert await good.expect("reply") == 3
        sending.cancel()
        await asyncio.wait([sending])
        writer.transport.abort()


@pytest.mark.parametrize(("deflate", "code"), [("context", 1009), ("fresh", None)])
async def test_deflate_bombs_are_not_inflated(deflate: str, code: int | None) -> None:
    """1009, or `too_large` if later messages do not need the context."""
    bomb = zlib.compressobj(wbits=-12)
    payload = bomb.compress(b'{"event":"size","message":"' + bytes(15 * 1024 * 1024))
    payload += bomb.flush(zlib.Z_SYNC_FLUSH)
    tracemalloc.start()
    try:
        async with serve(sizes(True)) as server, raw_peer(server.url(), deflate) as bad:
            await bad.send([encode(0xC1, payload[:-4])] * 60)
            if code is None:
                await bad.send([encode(0x81, b'{"event":"size","message":"x","id":7}')])
                await bad.wait_for("reply 1 7")
                assert len(bad.heard.texts) == 61
                await bad.send([encode(0x88, b"\x03\xe8")])
            assert (await bad.end()).code == (code or 1000)
        assert tracemalloc.get_traced_memory()[1] < 40 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def send_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end"])
async def test_a_client_that_is_gone_is_noticed_while_reading_pauses(reset: bool) -> None:
    """Its frames fill the queue while a handler runs; it leaves its rooms at once nevertheless."""
    app = WSRoom()
    handled, go_on = asyncio.Event(), asyncio.Event()

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        handled.set()
        await go_on.wait()

    frame = encode(0x81, b'{"event":"slow","message":"%s"}' % (b"x" * 1000))
    async with serve(app) as server, raw_peer(server.url()) as bad:
        bad.writer.write(frame * 300)
        await asyncio.wait_for(handled.wait(), WAIT)
        hub = app._worker.hub
        assert hub.members
        if reset:
            raw = bad.writer.get_extra_info("socket")
            raw.setsockopt(SOL_SOCKET, SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
            bad.writer.transport.abort()
        else:
            bad.writer.write_eof()
        await until(lambda: not hub.members)
        go_on.set()


async def test_a_client_that_does_not_answer_pings_is_closed() -> None:
    """1011, at uvicorn's interval and timeout; one that answers stays."""
    config = {"ws_ping_interval": 0.1, "ws_ping_timeout": SECOND}
    async with serve(sizes(True), **config) as server, peer(server) as good:
        pinged = count_pings(good)
        async with raw_peer(server.url()) as bad:
            assert (await bad.end()).code == 1011
        assert pinged() > 1
        await good.send("size", "abc", id=1)
        assert await good.expect("reply") == 3


async def test_the_time_for_a_pong_stands_still_while_reading_pauses() -> None:
    """The pong is behind frames that wait for a handler, far longer than the timeout."""
    timeout = SECOND / 2
    app = WSRoom()
    handled, go_on = asyncio.Event(), asyncio.Event()

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        handled.set()
        await go_on.wait()

    config = {"ws_ping_interval": 0.1, "ws_ping_timeout": timeout}
    frame = encode(0x81, b'{"event":"slow","message":"%s"}' % (b"x" * 1000))
    async with serve(app, **config) as server, peer(server) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        heard = b""
        while (at := heard.rfind(b"\x89\x04")) < 0 or len(heard) < at + 6:
            heard += await asyncio.wait_for(reader.read(65536), WAIT)
        writer.write(frame * 1000 + encode(0x8A, heard[at + 2 : at + 6]))
        await asyncio.wait_for(handled.wait(), WAIT)
        pinged = count_pings(other)
        begun = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > begun + 3 * timeout and pinged())
        go_on.set()
        asked = b'{"event":"nothing","id":"still here"}'
        writer.write(encode(0x81, asked))
        while b"still here" not in heard:
            data = await asyncio.wait_for(reader.read(65536), WAIT)
            assert data, heard[-200:]
            heard = heard[-100:] + data
        writer.close()


@pytest.mark.xfail(
    strict=True,
    reason="uvicorn 0.54: websockets refuses the line before there is a request that could be "
    "answered (python-websockets/websockets#1489)",
)
@pytest.mark.timeout(30)
async def test_a_long_header_is_answered() -> None:
    """docs/deploying.md tells how to limit headers in front of the server."""
    async with serve(sizes(True)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HANDSHAKE[:-2] + b"Cookie: " + b"a" * 9000 + b"\r\n\r\n")
        try:
            async with asyncio.timeout(SECOND):
                assert (await reader.read(100)).startswith(b"HTTP/1.1 4")
        finally:
            writer.transport.abort()


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True, reason="uvicorn 0.54 has no timeout for a request's headers (Kludex/uvicorn#157)"
)
@pytest.mark.timeout(60)
async def test_a_half_sent_handshake_ends() -> None:
    """docs/deploying.md tells how to limit its time in front of the server."""
    async with serve(sizes(True)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HANDSHAKE[:60])
        try:
            async with asyncio.timeout(12 * SECOND):
                await reader.read()
        finally:
            writer.transport.abort()
