"""Compressed and plain frames, pings and a close on one connection, read by other clients."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browsers import open_page, run
from tests.support.clock import SECOND
from tests.support.npm import fetch, find
from tests.support.peers import count_pings, peer
from tests.support.servers import serve
from wsroom import Emitter, Socket, WSRoom

SIZES = [0, 20, 100, 125, 126, 1000, 1024, 5000, 65_000, 70_000, 300_000]
ROUNDS = 3
PACE = 0.02

COLLECT = """(url) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url), frames = [];
    socket.onmessage = ({ data }) => {
        const { event, message } = JSON.parse(data);
        if (event === "connected") socket.send('{"event":"go"}');
        else frames.push([message.n, message.text.length, message.text.slice(-20)]);
    };
    socket.onclose = ({ code }) => resolve([frames, code]);
})"""

NODE = """
const WebSocket = require(process.argv[2]);
const socket = new WebSocket(process.argv[3]), frames = [];
socket.on("message", (data) => {
    const { event, message } = JSON.parse(data);
    if (event === "connected") socket.send('{"event":"go"}');
    else frames.push([message.n, message.text.length, message.text.slice(-20)]);
});
socket.on("close", (code) => console.log(JSON.stringify([frames, code, socket.extensions])));
"""


def text(number: int, size: int) -> str:
    """Make text of `size` that deflates well, or hardly if `number` is a multiple of three."""
    if number % 3:
        return (f"message {number} says the same again and again, " * size)[:size]
    seed = zlib.crc32(str(number).encode())
    letters = []
    for _ in range(size):
        seed = (seed * 1103515245 + 12345) % 2**31
        letters.append(chr(33 + (seed >> 16) % 90))
    return "".join(letters).replace('"', "x").replace("\\", "y")


def mixed() -> tuple[WSRoom, list[list[Any]]]:
    """Make an app that sends the mixture on `go` and closes, and the expected messages."""
    messages = [text(n, size) for n, size in enumerate(SIZES * ROUNDS)]
    app = WSRoom()

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        await socket.join("chat")

    @app.on("go")
    async def go(emitter: Emitter) -> None:
        for number, message in enumerate(messages):
            frame = {"n": number, "text": message}
            if number % 2:
                await emitter.emit_to_sender("said", frame)
            else:
                await emitter.to("chat").emit("said", frame)
            if number % 4 == 0:
                await asyncio.sleep(PACE)
        await emitter.socket.close(4000, "done")

    @app.page("/")
    def page() -> str:
        return "<!doctype html><title>empty</title>"

    return app, [[n, len(message), message[-20:]] for n, message in enumerate(messages)]


CONFIG = {"ws_ping_interval": 0.05, "ws_ping_timeout": 20 * SECOND}


async def test_websockets_reads_the_mixture(protocol: str) -> None:
    """Python's websockets, with permessage-deflate and without, pings in between."""
    app, expected = mixed()
    async with serve(app, ws=protocol, **CONFIG) as server:
        for compression in ("deflate", None):
            async with peer(server, compression=compression) as a:
                pings = count_pings(a)
                assert bool(a.websocket.protocol.extensions) is (compression == "deflate")
                await a.send("go")
                heard = []
                for _ in expected:
                    message = await a.expect("said")
                    heard.append([message["n"], len(message["text"]), message["text"][-20:]])
                assert heard == expected and await a.closed() == 4000 and pings() > 0


async def test_chromium_reads_the_mixture(protocol: str, browser: Browser) -> None:
    """The browser's own WebSocket, which negotiates permessage-deflate."""
    app, expected = mixed()
    async with serve(app, ws=protocol, **CONFIG) as server:
        page = await open_page(browser, server.url("/", "http"))
        assert await run(page, COLLECT, server.url()) == [expected, 4000]


@pytest.fixture(scope="session")
def node_ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch("ws", "8.18.0", tmp_path_factory.mktemp("ws"))


async def test_node_reads_the_mixture(protocol: str, node_ws: Path, tmp_path: Path) -> None:
    """The package ws of Node, with its own inflater."""
    app, expected = mixed()
    script = tmp_path / "client.js"
    script.write_text(NODE)
    async with serve(app, ws=protocol, **CONFIG) as server:
        process = await asyncio.create_subprocess_exec(
            *(find("node"), str(script), str(node_ws), server.url()), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30 * SECOND):
            out, _ = await process.communicate()
    assert json.loads(out) == [expected, 4000, "permessage-deflate"]


async def test_picows_reads_the_mixture(protocol: str) -> None:
    """picows, which does not support compression."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    app, expected = mixed()
    heard: list[list[Any]] = []
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Client(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                data = json.loads(frame.get_payload_as_bytes())
                if data["event"] == "connected":
                    transport.send(WSMsgType.TEXT, b'{"event":"go"}')
                else:
                    words = data["message"]["text"]
                    heard.append([data["message"]["n"], len(words), words[-20:]])
            elif frame.msg_type == WSMsgType.CLOSE:
                ended.set_result(frame.get_close_code())
                transport.send_close(frame.get_close_code())

    async with serve(app, ws=protocol, **CONFIG) as server:
        transport, _ = await ws_connect(Client, server.url())
        async with asyncio.timeout(30 * SECOND):
            assert await ended == 4000
        transport.disconnect()
    assert heard == expected
