"""Clients that read slowly or not at all, on real sockets of a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.support.certificates import Certificate
from tests.support.clock import QUICK, SECOND, until
from tests.support.peers import WAIT, Peer, peer
from tests.support.servers import Server, program, serve
from wsroom import Emitter, Limits, Socket, WSRoom
from wsroom.direct.transport_writer import TransportWriter

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class App(WSRoom):
    """An app that records the codes with which its sockets end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.codes: list[int] = []
        self.add_handler("say", self.say)
        self.add_hook("on_open", self.opened)
        self.add_hook("on_disconnect", self.ended)
        self.sockets: dict[str, Socket] = {}

    async def say(self, emitter: Emitter, message: Any) -> None:
        await emitter.emit("said", message)

    async def opened(self, emitter: Emitter) -> None:
        self.sockets[emitter.socket.id] = emitter.socket

    async def ended(self, socket: Socket, code: int) -> None:
        self.codes.append(code)

    @property
    def members(self) -> dict[str, Any]:
        return dict(self._worker.hub.members)


@contextlib.asynccontextmanager
async def never_reading(server: Server, app: App) -> AsyncIterator[Any]:
    """Connect a client that never reads after its handshake; yields its writer in the app."""
    async with not_reading(server, app) as (writer, _):
        yield writer


@contextlib.asynccontextmanager
async def not_reading(server: Server, app: App) -> AsyncIterator[tuple[Any, socket.socket]]:
    """Connect a client that does not read after its handshake; yields its writer and socket."""
    before = set(app.members)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", server.port))
    await loop.sock_sendall(raw, HANDSHAKE)
    await until(lambda: len(app.members) > len(before))
    (new,) = set(app.members) - before
    try:
        yield app.members[new], raw
    finally:
        raw.close()


def unsent(connection: Any) -> int:
    size: int = connection._transport.get_write_buffer_size()
    return size


async def fill(app: App, connection: Any, size: int) -> None:
    """Emit to one socket until `size` bytes are unsent in the server, or it is found slow."""
    while unsent(connection) < size and connection.id in app.members:
        await app.to(connection.id).emit("bulk", "x" * 50_000)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_uvicorn_is_written_to_directly(protocol: str) -> None:
    """With both implementations; with `direct=False` frames are sent through ASGI."""
    for direct in (True, False):
        app = App(direct=direct)
        async with serve(app, ws=protocol) as server, peer(server) as a:
            (writer,) = app.members.values()
            assert isinstance(writer, TransportWriter) is direct
            await a.send("say", "hi")
            assert await a.expect("said") == "hi"


@pytest.mark.parametrize("direct", [True, False])
async def test_volatile_messages_pass_over_a_socket_that_is_behind(direct: bool) -> None:
    """With more than 64 KiB unsent it gets only the others; a socket that reads gets all."""
    app = App(direct=direct)
    async with (
        serve(app) as server,
        peer(server) as a,
        not_reading(server, app) as (writer, raw),
    ):
        number = 0
        while writer.unsent <= 100_000:
            await app.to().emit("bulk", "x" * 50_000)
            await a.expect("bulk")
            number += 1
        await app.to().emit("cursor", "first", volatile=True)
        await app.to().emit("said", number)
        await app.to().emit("cursor", "with others", volatile=True)
        await app.to(writer.id).emit("cursor", "alone", volatile=True)
        assert [await a.expect(event) for event in ("cursor", "said", "cursor")] == [
            "first",
            number,
            "with others",
        ]
        data = b""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT):
            while b'"said"' not in data[-1000:]:
                data += await loop.sock_recv(raw, 2**20)
            await until(lambda: not writer.unsent)
            await app.to().emit("cursor", "late", volatile=True)
            while b'"late"' not in data[-1000:]:
                data += await loop.sock_recv(raw, 2**20)
        assert data.count(b'"bulk"') == number and data.count(b'"cursor"') == 1


@pytest.mark.parametrize("size", [100_000, 900_000, 5_000_000])
async def test_a_stop_does_not_wait_for_slow_clients(size: int, protocol: str) -> None:
    """uvicorn's shutdown ends in time, whatever is unsent to clients that never read."""
    app = App(_timing=QUICK)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(app, ws=protocol))
        connection = await stack.enter_async_context(never_reading(server, app))
        await fill(app, connection, size)
        began = time.monotonic()
        server.should_exit = True
        await until(lambda: not server.server_state.connections)
        assert time.monotonic() - began < 4 * SECOND
    assert app.codes in ([1012], [1013])


STUCK = """
import json, os
from wsroom import WSRoom
from wsroom.timing import Timing

app = WSRoom(_timing=Timing(**json.loads(os.environ.get("TIMING", "{}"))))

@app.on("fill")
async def fill(emitter, size):
    for _ in range(size // 50_000):
        await emitter.emit_to_sender("bulk", "x" * 50_000)
    print("filled", size, flush=True)

@app.on("end")
async def end(emitter):
    await emitter.socket.close(4000)

@app.on_disconnect()
async def gone(socket, code):
    print("ended with", code, flush=True)
"""


@pytest.mark.slow
async def test_sigterm_ends_a_server_in_ten_seconds(tmp_path: Path) -> None:
    """With the real times; 100 kB to 5 MB are unsent to clients that never read."""
    await stop_with_unsent_bytes(tmp_path, 10)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_sigterm_ends_a_server(loop: str, protocol: str, tmp_path: Path) -> None:
    """With short times, so that SIGTERM ends the server in two seconds."""
    options = ("--loop", loop, "--ws", protocol)
    env = {"TIMING": json.dumps(dataclasses.asdict(QUICK))}
    await stop_with_unsent_bytes(tmp_path, 4, *options, env=env)


async def stop_with_unsent_bytes(tmp_path: Path, within: float, *options: str, **more: Any) -> None:
    """Send SIGTERM to uvicorn while bytes are unsent; it ends `within` so many seconds."""
    (tmp_path / "app.py").write_text(STUCK)
    args = ("-m", "uvicorn", "app:app", "--port", "0", *options)
    async with (
        program(*args, cwd=tmp_path, **more) as server,
        contextlib.AsyncExitStack() as stack,
    ):
        line = await server.line("Uvicorn running on")
        port = int(line.split("127.0.0.1:")[1].split()[0])
        for size in (100_000, 900_000, 5_000_000):
            raw = stack.enter_context(socket.socket())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(raw, ("127.0.0.1", port))
            await loop.sock_sendall(raw, HANDSHAKE)
            await loop.sock_recv(raw, 12)  # uvicorn drops what follows the handshake at once
            text = json.dumps({"event": "fill", "message": size}).encode()
            await loop.sock_sendall(raw, struct.pack("!BB4x", 0x81, 0x80 | len(text)) + text)
            await server.line(f"filled {size}")
        server.process.terminate()
        await server.end(timeout=within)
    assert server.output.count("ended with") == 3 and "Traceback" not in server.output


async def test_tls_is_written_to_directly_too(protocol: str, certificate: Certificate) -> None:
    """Another transport is used in the same way."""
    app = App()
    async with serve(app, ws=protocol, ssl_certfile=certificate.file) as server:
        url, context = server.url(scheme="wss"), certificate.context
        async with connect(url, ssl=context, open_timeout=WAIT) as raw:
            a = Peer(raw)
            await a.expect("connected")
            assert all(isinstance(w, TransportWriter) for w in app.members.values())
            for size in (1, 1000, 100_000):
                await a.send("say", "x" * min(size, 60_000))
                assert len(await a.expect("said")) == min(size, 60_000)
            await app.to().emit("bulk", "x" * 500_000)
            assert len(await a.expect("bulk")) == 500_000


@pytest.mark.parametrize("size", [100_000, 900_000])
async def test_a_close_is_aborted_if_the_client_does_not_read(size: int, protocol: str) -> None:
    """After the app's own close and after uvicorn's keepalive; the hooks run too."""
    config = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.5}
    for options, code in (({}, 4000), (config, None)):
        app = App(_timing=QUICK)
        async with serve(app, ws=protocol, **options) as server:
            async with never_reading(server, app) as connection:
                await fill(app, connection, size)
                if code:
                    await app.sockets[connection.id].close(code)
                await until(lambda: not server.server_state.connections)
                await until(lambda: app.codes)  # noqa: B023
                assert code is None or app.codes == [code]


async def test_a_slow_member_is_closed_and_delays_nobody(protocol: str) -> None:
    """Over a mebibyte unsent that does not shrink: 1013, and no emit waits for it."""
    app = App(_timing=QUICK)
    async with serve(app, ws=protocol) as server, peer(server) as good:
        async with never_reading(server, app) as connection:
            while unsent(connection) < 2_000_000:
                await good.send("say", "x" * 50_000)
                async with asyncio.timeout(SECOND):
                    assert len((await good.next())["message"]) == 50_000
            await until(lambda: app.codes == [1013])
            await until(lambda: len(server.server_state.connections) == 1)
        await good.send("say", "still here")
        assert await good.expect("said") == "still here"


async def test_a_burst_closes_nobody(ws: str) -> None:
    """Six megabytes at once are far over the limit, but a healthy client takes them."""
    app = App()
    async with serve(app, ws=ws) as server, peer(server) as a:
        for number in range(120):
            await app.to().emit("bulk", f"{number} " + "x" * 50_000)
        for number in range(120):
            assert (await a.expect("bulk")).startswith(f"{number} ")
        await a.send("say", "still here")
        assert await a.expect("said") == "still here"
    assert app.codes != [1013]


async def test_a_flood_to_one_that_never_reads_is_bounded(protocol: str) -> None:
    """At most 16 times the limit are unsent before the next check."""
    app = App(_timing=QUICK)
    async with serve(app, ws=protocol) as server, never_reading(server, app) as connection:
        async with asyncio.timeout(WAIT):
            while not app.codes and connection.id in app.members:
                await app.to().emit("bulk", "x" * 1_000_000)
                await asyncio.sleep(0)
        assert unsent(connection) < 20 * 2**20
        await until(lambda: app.codes == [1013])


async def test_the_unsent_bytes_of_all_sockets_are_bounded(protocol: str) -> None:
    """Each is within its limit, together they are not: the one with the most is closed."""
    app = App(_timing=QUICK, limits=Limits(unsent=1_000_000))
    async with serve(app, ws=protocol) as server, contextlib.AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(never_reading(server, app)) for _ in range(3)]
        for connection, size in zip(slow, (150_000, 600_000, 300_000), strict=True):
            await fill(app, connection, size)
        await until(lambda: app.codes)
        assert app.codes == [1013]
        assert slow[1].ended and not slow[0].ended and not slow[2].ended


async def test_hidden_features_fall_back(caplog: pytest.LogCaptureFixture) -> None:
    """If the transport of a server is unknown, frames go through ASGI's send; logged once."""

    class Hidden:
        def __init__(self, receive: Any) -> None:
            self._receive = receive
            self.transport = object()

        async def receive(self) -> Any:
            return await self._receive()

    app = App()

    async def hiding(scope: Any, receive: Any, send: Any) -> None:
        hidden = receive if scope["type"] == "lifespan" else Hidden(receive).receive
        await app(scope, hidden, send)

    caplog.set_level("INFO", "wsroom")
    async with serve(hiding) as server, peer(server) as a, peer(server) as b:
        assert not any(isinstance(w, TransportWriter) for w in app.members.values())
        await a.send("say", "hi")
        assert await b.expect("said") == "hi"
    said = [record for record in caplog.records if "transport is not known" in record.getMessage()]
    assert len(said) == 1 and said[0].levelname == "INFO"


async def test_frames_are_ordered_across_rooms_replies_and_close(ws: str) -> None:
    """Emits, replies and the close of one handler reach a socket in the order of the calls."""
    app = App()

    @app.on("mix")
    async def mix(emitter: Emitter, message: int) -> None:
        await emitter.socket.join("a", "b")
        for number in range(20):
            await emitter.to("a").emit("said", (message, number, "a"))
            await emitter.emit_to_sender("said", (message, number, "me"))
            await emitter.to("b").emit("said", (message, number, "b"))
            await emitter.to("a", "b").emit("said", (message, number, "ab"))
            await emitter.to(emitter.socket.id).emit("said", (message, number, "id"))
            await emitter.emit("said", (message, number, "path"))
        if message == 2:
            await emitter.socket.close(4000)

    async with serve(app, ws=ws) as server, peer(server) as a:
        for number in range(3):
            await a.send("mix", number)
        for room in ("a", "b"):
            assert (await a.expect("joinedRoom"))["room"] == room
        for message in range(3):
            for number in range(20):
                for kind in ("a", "me", "b", "ab", "id", "path"):
                    assert await a.expect("said") == [message, number, kind]
        assert await a.closed() == 4000
