"""Compressed and plain frames, pings and a close on one connection, read by other clients."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import aiohttp
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


# -- what clients deflate -------------------------------------------------------------------------

SENT = ["", "short", "a longer text, a longer text, a longer text " * 30, "x" * 20_000] * 3


def sized(**options: Any) -> tuple[WSRoom, list[Any]]:
    """Make an app that answers with the lengths of texts; and the links of its connections."""
    app = WSRoom(**options)
    links: list[Any] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        writer: Any = app._worker.hub.members[emitter.socket.id]
        links.append(writer._connection.source)

    @app.on("size")
    async def size(emitter: Emitter, message: str) -> int:
        return len(message)

    @app.page("/")
    def page() -> str:
        return "<!doctype html><title>empty</title>"

    return app, links


def deflated_without_context(links: list[Any]) -> bool:
    """Whether messages of the connection may be deflated, and none has left a context."""
    extension = links[-1]._inflater._extension
    return extension.remote_no_context_takeover and extension.decoder is None


ASK = """([url, texts]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url), answers = [];
    socket.onmessage = ({ data }) => {
        const { event, message } = JSON.parse(data);
        if (event === "reply") answers.push(message);
        if (answers.length < texts.length) {
            const id = answers.length + 1;
            socket.send(JSON.stringify({ event: "size", message: texts[answers.length], id }));
        } else {
            resolve([answers, socket.extensions]);
        }
    };
    socket.onerror = reject;
})"""

NODE_ASKS = (
    """
const make = require(process.argv[2]);
const WebSocket = function (url) {
    return process.argv[4] === "ws"
        ? new make(url, { perMessageDeflate: { threshold: 0 } }) : new make.WebSocket(url);
};
const ask = """
    + ASK
    + """;
ask([process.argv[3], JSON.parse(process.argv[5])]).then((answer) => {
    console.log(JSON.stringify(answer));
    process.exit();
});
"""
)

LENGTHS = [len(text) for text in SENT]


async def test_websockets_deflates_without_context() -> None:
    app, links = sized()
    async with serve(app) as server, peer(server, compression="deflate") as a:
        for number, message in enumerate(SENT):
            await a.send("size", message, id=number)
            assert await a.expect("reply") == LENGTHS[number]
        assert deflated_without_context(links)


async def test_aiohttp_deflates_without_context() -> None:
    app, links = sized()
    async with (
        serve(app) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url("/ws", "http"), compress=15) as a,
    ):
        assert (await a.receive_json())["event"] == "connected"
        for number, message in enumerate(SENT):
            await a.send_json({"event": "size", "message": message, "id": number})
            assert (await a.receive_json())["message"] == LENGTHS[number]
        assert deflated_without_context(links)


async def test_chromium_deflates_without_context(browser: Browser) -> None:
    app, links = sized()
    async with serve(app) as server:
        page = await open_page(browser, server.url("/", "http"))
        answers, extensions = await run(page, ASK, [server.url(), SENT])
        assert answers == LENGTHS and "client_no_context_takeover" in extensions
        assert deflated_without_context(links)


@pytest.mark.parametrize(("package", "version"), [("ws", "8.18.0"), ("undici", "7.8.0")])
async def test_node_deflates_without_context(package: str, version: str, tmp_path: Path) -> None:
    """The package ws; and undici, whose class is Node's own, which deflates nothing itself."""
    app, links = sized()
    folder = fetch(package, version, tmp_path)
    script = tmp_path / "client.js"
    script.write_text(NODE_ASKS)
    async with serve(app) as server:
        process = await asyncio.create_subprocess_exec(
            *(find("node"), str(script), str(folder), server.url(), package, json.dumps(SENT)),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30 * SECOND):
            out, _ = await process.communicate()
        answers, extensions = json.loads(out)
        assert answers == LENGTHS and "permessage-deflate" in extensions
        assert deflated_without_context(links)


async def test_clients_may_deflate_with_context() -> None:
    """`deflate_context=True`: what is negotiated is what the client offered."""
    app, links = sized(deflate_context=True)
    async with serve(app) as server, peer(server, compression="deflate") as a:
        for number, message in enumerate(SENT):
            await a.send("size", message, id=number)
            assert await a.expect("reply") == LENGTHS[number]
        assert not deflated_without_context(links)
