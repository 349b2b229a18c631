"""How a connection ends, whatever it is doing: both ways in, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest

from tests.support.certificates import Certificate
from tests.support.clock import SECOND, until
from tests.support.loops import LOOPS, run, serving
from tests.support.peers import WAIT, peer
from tests.support.servers import Server, serve
from tests.support.streams import RawPeer, encode, raw_peer
from wsroom import Emitter, MemoryAdapter, Socket, WSRoom
from wsroom.timing import Timing
from wsroom.wire.emission import Room

SHORT = encode(0x81, b'{"event":"wait"}')
LONG = encode(0x81, b'{"event":"wait","message":"%s"}' % (b"x" * 2000))
FAST = encode(0x81, b'{"event":"fast"}')

STATES = {
    "idle": b"",
    "handling": SHORT,
    "handling-for-long": SHORT,
    "queued": SHORT * 50,
    "reading-paused": LONG * 300,
    "flooding": FAST * 3000,
    "within-a-frame": LONG[:-1],
    "within-a-long-frame": encode(0x81, b"x" * 70_000)[:-1],
    "within-a-message": encode(0x01, b'{"event":'),
}
"""What a client has sent before the end."""
BEGIN = ("handling", "handling-for-long", "queued", "reading-paused", "flooding")
"""The states in which a handler runs."""


class Ending:
    """An app whose handlers wait, on a server of its own."""

    server: Server
    runner: asyncio.Runner
    context: ssl.SSLContext | None

    def __init__(self, direct: bool) -> None:
        self.direct = direct
        timing = Timing(grace=0.2 * SECOND, read_beside_after=0.02)
        self.app = WSRoom(direct=direct, _timing=timing)
        self.app.add_handler("wait", self.wait)
        self.app.add_handler("fast", self.fast)
        self.app.add_hook("on_open", self.opened)
        self.app.add_hook("on_disconnect", self.ended)
        self.begin()

    def begin(self) -> None:
        """Forget the last test."""
        self.gate = asyncio.Event()
        self.codes: list[int] = []
        self.began = 0  # handlers
        self.socket: Socket | None = None

    async def opened(self, emitter: Emitter) -> None:
        self.socket = emitter.socket

    async def wait(self, emitter: Emitter) -> None:
        self.began += 1
        await self.gate.wait()
        # A write to a transport that may be closed. On the ordinary way uvicorn 0.54 fails in
        # `send` with a RuntimeError after a client's error, which is logged.
        if self.direct:
            await emitter.emit("done")

    async def fast(self, emitter: Emitter) -> None:
        self.began += 1

    async def ended(self, socket: Socket, code: int) -> None:
        self.codes.append(code)

    @property
    def over(self) -> bool:
        state, worker = self.server.server_state, self.app._worker
        return not (state.connections or state.tasks or worker.hub.members or worker.connections)


WAYS = {
    "link-asyncio": (True, "asyncio", False),
    "link-uvloop": (True, "uvloop", False),
    "link-asyncio-tls": (True, "asyncio", True),
    "link-uvloop-tls": (True, "uvloop", True),
    "ordinary-uvloop": (False, "uvloop", False),
}


@pytest.fixture(scope="module", params=WAYS)
def running(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Ending]:
    direct, loop, tls = WAYS[request.param]
    ending = Ending(direct)
    files = {"ssl_certfile": certificate.file} if tls else {}
    ending.context = certificate.context if tls else None
    with serving(ending.app, loop, **files) as (ending.server, ending.runner):
        yield ending


async def reset(client: RawPeer, ending: Ending) -> None:
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(SOL_SOCKET, SO_LINGER, (1).to_bytes(4, "little") + bytes(4))
    client.writer.transport.abort()


async def end_of_stream(client: RawPeer, ending: Ending) -> None:
    if client.writer.can_write_eof():
        client.writer.write_eof()
    else:  # TLS: the end is a message
        client.writer.close()


async def close(client: RawPeer, ending: Ending) -> None:
    client.writer.write(encode(0x88, b"\x0f\xa1"))


async def fail(client: RawPeer, ending: Ending) -> None:
    client.writer.write(encode(0x83, b""))


async def close_by_app(client: RawPeer, ending: Ending) -> None:
    assert ending.socket is not None
    await ending.socket.close(4000)


async def abort(client: RawPeer, ending: Ending) -> None:
    (connection,) = ending.server.server_state.connections
    connection.transport.abort()


ENDS = {
    "reset": (reset, (1005, 1006)),
    "end-of-stream": (end_of_stream, (1005, 1006)),
    "close": (close, (4001,)),
    "error": (fail, (1002,)),
    "close-by-the-app": (close_by_app, (4000,)),
    "abort": (abort, (1005, 1006)),
}
"""What ends it, and the codes that `on_disconnect` may get."""

PAIRS = [
    (state, end)
    for state in STATES
    for end in ENDS
    # Within a frame, more bytes of the client are a part of it.
    if not (state.endswith("-frame") and end in ("close", "error"))
]


@pytest.mark.parametrize(("state", "end"), PAIRS)
def test_the_end_of_a_connection(
    state: str, end: str, running: Ending, quiet: pytest.LogCaptureFixture
) -> None:
    """It leaves nothing behind and no error in the log, and `on_disconnect` runs once."""
    running.begin()
    running.runner.run(play(state, end, running))


async def play(state: str, end: str, running: Ending) -> None:
    function, codes = ENDS[end]
    if (state, end) == ("within-a-message", "close"):
        codes = (1002,)
    scheme = "ws" if running.context is None else "wss"
    url = running.server.url(scheme=scheme)
    async with raw_peer(url, context=running.context) as client:
        client.writer.write(STATES[state])
        await until(lambda: running.socket and (running.began or state not in BEGIN))
        if state == "handling-for-long":
            socket: Any = running.socket
            connection = socket._connection
            await until(lambda: connection.supervisor.long_running)
        await function(client, running)
        if state == "queued" and end not in ("close", "error"):
            await until(lambda: not running.server.server_state.connections or client.heard.code)
        running.gate.set()
        await until(lambda: running.codes)
        if end == "close-by-the-app" and not state.endswith("-frame"):
            client.writer.write(encode(0x88, b"\x0f\xa0"))
            assert (await client.end()).code == 4000
    await until(lambda: running.over)
    assert len(running.codes) == 1 and running.codes[0] in codes
    if state == "queued" and end in ("close", "error"):
        assert running.began == 50  # what came before is handled
    elif state == "queued" and running.direct:
        assert running.began == 1  # what waits is dropped


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("direct", [True, False], ids=["link", "ordinary"])
def test_a_stop_ends_whatever_it_is_doing(
    direct: bool, loop: str, quiet: pytest.LogCaptureFixture
) -> None:
    """uvicorn notifies all connections from its own task: those that wait, work, or do not read."""
    run(loop, stop(direct))


async def stop(direct: bool) -> None:
    ending = Ending(direct)
    states = ["idle", "handling", "queued", "within-a-frame", "within-a-message"]
    if direct:  # on the ordinary way a full slot hides the stop until the handler ends
        states.append("reading-paused")
    working = [state for state in states if state in BEGIN]
    async with serve(ending.app) as ending.server, contextlib.AsyncExitStack() as stack:
        clients = []
        for state in states:
            client = await stack.enter_async_context(raw_peer(ending.server.url()))
            client.writer.write(STATES[state])
            clients.append(client)
        await until(lambda: ending.began == len(working))
        ending.server.should_exit = True
        assert [(await client.end()).code for client in clients] == [1012] * len(states)
        await until(lambda: ending.over)
    assert ending.codes == [1012] * len(states)
    assert ending.began == len(working)  # nothing that was queued has been handled


class Failing(MemoryAdapter):
    """Breaks its contract in one room."""

    failed = False

    def unsubscribe(self, room: Room) -> None:
        if room.name == "fails":
            self.failed = True
            raise KeyError("a bug of the adapter's")
        super().unsubscribe(room)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exception_while_bytes_are_read_is_logged(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A disconnect that a link notices while a handler runs makes the socket leave its rooms."""
    run(loop, raise_while_reading())
    logged = [record for record in caplog.records if record.exc_info]
    assert logged and all("a bug of the adapter's" in str(r.exc_info) for r in logged)


async def raise_while_reading() -> None:
    adapter = Failing()
    app = WSRoom(adapter, _timing=Timing(read_beside_after=0.01))
    began, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.on("wait")
    async def wait(emitter: Emitter) -> None:
        began.set()
        await gate.wait()

    @app.on("echo")
    async def echo(emitter: Emitter, message: object) -> object:
        return message

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        ended.set()

    async with serve(app) as server, peer(server) as good:
        async with raw_peer(server.url()) as bad:
            bad.writer.write(encode(0x81, b'{"event":"joinRoom","message":"fails","id":1}'))
            await bad.wait_for_id(1)
            bad.writer.write(SHORT)
            await asyncio.wait_for(began.wait(), WAIT)
            bad.writer.write(encode(0x88, b"\x0f\xa1"))
            await until(lambda: adapter.failed)
            gate.set()
            await bad.end()
        await asyncio.wait_for(ended.wait(), WAIT)
        await until(lambda: len(server.server_state.connections) == 1)
        assert await good.request("echo", 1) == 1
