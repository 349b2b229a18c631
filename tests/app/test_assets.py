"""wsroom.js as a file: how it is served, how large it is, and where it can be used."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.browsers import run
from tests.support.clock import SECOND
from tests.support.minify import minify
from tests.support.npm import find, install
from tests.support.peers import WAIT
from tests.support.servers import get, serve
from tests.support.site import Site
from tests.support.tabs import Tab
from wsroom import WSRoom
from wsroom.asgi.assets import FOLDER, client_assets

FILE = FOLDER / "wsroom.js"
MOST = 4_150
"""Bytes of it over HTTP: README.md and docs/client.md say 4.1 kB."""

NODE = """
import connect, { WSRoomError, connect as named } from "%s";
if (connect !== named || !(new WSRoomError("a", "b") instanceof Error)) process.exit(1);
const [url] = process.argv.slice(1);
if (url) {
  const socket = connect(url);
  const room = await socket.joinRoom("chat");
  const reply = await socket.request("echo", "from Node");
  console.log(JSON.stringify([typeof window, room.room, reply]));
  socket.close();
} else console.log(JSON.stringify([typeof window, Object.keys(globalThis).includes("wsroom")]));
"""

TYPED = """
import DoxWebSocket, { connect, WSRoomError, type Frame, type Socket } from "./wsroom.js";

const socket: Socket = connect("/ws", {
  params: async () => ({ token: "t" }), buffer: 10, maxRetries: 3, retryAfter: 500,
  connectTimeout: 5000, WebSocket,
});
const stop: () => void = socket.on("said", (message, sender, room) => {
  const who: string | null = sender;
  console.log(message.text, who, room);
});
socket.on("*", (frame: Frame) => console.log(frame.event, frame.offset));
socket.off("said");
socket.emit("say", { text: "hi" }, { volatile: true });
socket.onConnected(() => console.log(socket.id, socket.state, socket.dropped));
socket.onState((state) => console.log(state === "waiting"));
socket.onClose(({ code, reason }) => console.log(code, reason));
socket.onError((error) => error instanceof WSRoomError && console.log(error.code, error.detail));
socket.onResync((room) => console.log(room));
const { signal } = new AbortController();
const answer: number = await socket.request<number>("sum", [1, 2], { timeout: 1000, signal });
socket.once("said", (message) => console.log(message));
const { room, offset } = await socket.joinRoom("chat");
const { replayed, recovered } = await socket.joinRoom("chat", { last: 50 });
await socket.joinRoom("chat", { since: offset ?? "" });
const names: string[] = [...socket.rooms, `${replayed} ${recovered}`];
await socket.leaveRoom(room);
DoxWebSocket("ws://127.0.0.1:3001/ws", { maxRetries: 18, retryAfter: 2000 }).onOpen(() => {});
window.wsroom.connect("/ws").close(4000, `${answer} ${offset} ${names}`);
socket.open();
stop();

// @ts-expect-error an id is the server's
socket.id = "me";
// @ts-expect-error no such option
connect("/ws", { retries: 3 });
// @ts-expect-error the last ones, or those since an offset
socket.joinRoom("chat", { last: 50, since: "x" });
// @ts-expect-error no class of sockets
connect("/ws", { WebSocket: Map });
// @ts-expect-error a room is a string
socket.joinRoom(5);
"""

# Without the types of browsers and of Node, as in a worker of a CDN or in React Native.
BARE = """
import { connect, type Params, WSRoomError } from "./wsroom.js";

declare const url: { readonly href: string };
declare const pairs: Iterable<[string, string]>;
const given: Params[] = ["a=b", { token: "t" }, [["a", "b"]], pairs];
const socket = connect(url, { params: async () => given[0] ?? "" });
const sum: number = await socket.request("sum", [1, 2]);
await socket.joinRoom(`room:${sum}`);
socket.onError((error) => error instanceof WSRoomError && error.data);
// @ts-expect-error a parameter is a string
connect("wss://host/ws", { params: { page: 5 } });
"""


FIND_SOURCE = """
import { SourceMap } from "node:module";
const { originalSource, originalLine } = new SourceMap(%s).findEntry(%d, %d);
console.log(JSON.stringify([originalSource, originalLine]));
"""
SENTENCE = "there is no WebSocket"


def node(*arguments: str) -> Any:
    """Run Node; return the JSON that it prints."""
    # Node 20 needs this flag for WebSocket; later versions do not.
    command = [find("node"), "--experimental-websocket", "--no-warnings", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 * SECOND)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_minified_file_belongs_to_its_source() -> None:
    """If not: python -m tests.support.minify."""
    for name, text in minify().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text


async def test_it_is_small() -> None:
    """What a browser loads is compressed, and 4.1 kB."""
    async with serve(WSRoom()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /wsroom.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Accept-Encoding: gzip, deflate, br, zstd\r\n\r\n"
        )
        async with asyncio.timeout(WAIT):
            answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head and b"vary: accept-encoding" in head
        assert len(body) < MOST
        _, plain = await get(server, "/wsroom.js", headers={"Accept-Encoding": "identity"})
        assert gzip.decompress(body) == plain.content
        assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "accepted, compressed",
    [
        ("gzip", True),
        ("br;q=1.0, GZIP ; q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br, deflate", False),
        ("x-gzip", False),
        ("", False),
    ],
)
async def test_it_is_compressed_if_the_client_accepts_it(accepted: str, compressed: bool) -> None:
    """A weight of 0 means no."""
    async with serve(WSRoom()) as server:
        _, answer = await get(server, "/wsroom.js", headers={"Accept-Encoding": accepted})
        assert (answer.headers.get("content-encoding") == "gzip") == compressed
        assert "wsroom" in answer.text


async def test_its_source_map_leads_to_the_source() -> None:
    """A position in the served file is a position in wsroom.js, which the map contains."""
    async with serve(Site()) as server:
        _, served = await get(server, "/wsroom.js")
        assert served.text.rstrip().endswith("//# sourceMappingURL=wsroom.js.map")
        _, answer = await get(server, "/wsroom.js.map")
    (source,) = json.loads(answer.text)["sourcesContent"]
    assert source == FILE.read_text(encoding="utf-8")
    position = served.text.index(SENTENCE)
    line = served.text.count("\n", 0, position)
    column = position - served.text.rindex("\n", 0, position) - 1
    script = FIND_SOURCE % (answer.text, line, column)
    name, number = node("--input-type=module", "-e", script)
    assert name == "wsroom.source.js" and SENTENCE in source.splitlines()[number]


@pytest.mark.parametrize(
    ("program", "options"), [(TYPED, []), (BARE, ["--lib", "es2022"])], ids=["page", "bare"]
)
def test_its_types_are_right(program: str, options: list[str], tmp_path: Path) -> None:
    """TypeScript in strict mode accepts a program that uses all of it, and rejects wrong uses."""
    install("typescript@5.9.3", tmp_path)
    for name in ("wsroom.js", "wsroom.d.ts"):
        (tmp_path / name).write_text((FOLDER / name).read_text())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "page.ts").write_text(program)
    options = [*options, "--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"]
    command = [str(tmp_path / "node_modules" / ".bin" / "tsc"), *options, "page.ts"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60 * SECOND
    )
    assert done.returncode == 0, done.stdout


def test_node_imports_it_without_a_window() -> None:
    """The file touches nothing global when it is imported."""
    script = NODE % FILE.as_uri()
    assert node("--input-type=module", "-e", script) == ["undefined", False]


async def test_node_connects_with_it() -> None:
    """If there is a WebSocket it works without a page too, with a complete URL."""
    async with serve(Site()) as server:
        command = ("--input-type=module", "-e", NODE % FILE.as_uri(), server.url())
        assert await asyncio.to_thread(node, *command) == ["undefined", "chat", "from Node"]


async def test_it_is_served_for_caches() -> None:
    """An ETag and 304; revalidated each time, but cached for a year if the URL has a version."""
    async with serve(WSRoom()) as server:
        status, response = await get(server, "/wsroom.js")
        assert status == 200
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["access-control-allow-origin"] == "*"
        etag = response.headers["etag"]
        for known in (etag, f'"x", {etag.removeprefix("W/")}', "*"):
            status, again = await get(server, "/wsroom.js", headers={"If-None-Match": known})
            assert (status, again.text, again.headers["etag"]) == (304, "", etag)
        assert (await get(server, "/wsroom.js", headers={"If-None-Match": '"x"'}))[0] == 200

        _, lasting = await get(server, "/wsroom.js?v=1")
        assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert lasting.text == response.text
        status, head = await get(server, "/wsroom.js", "HEAD")
        assert (status, head.text) == (200, "")
        assert head.headers["content-length"] == response.headers["content-length"]
        _, types = await get(server, "/wsroom.d.ts")
        assert types.text == (FOLDER / "wsroom.d.ts").read_text()
        assert (await get(server, "/wsroom.js", "POST"))[0] == 404


async def test_a_page_of_the_apps_own_comes_first() -> None:
    """An app that has its own page at /wsroom.js keeps it."""
    app = WSRoom()
    app.add_page("/wsroom.js", lambda: "mine")
    async with serve(app) as server:
        assert (await get(server, "/wsroom.js"))[1].text == "mine"


def test_it_is_a_module_and_a_script() -> None:
    """The served text parses as both, because of its last line."""
    text = client_assets()["/wsroom.js"].text
    for kind in ("module", "commonjs"):
        command = [find("node"), "--check", f"--input-type={kind}", "-"]
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, timeout=30 * SECOND
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["/", "/module"])
async def test_a_page_uses_it_either_way(
    path: str, browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """As a plain script (even twice) and as a module it is the same client."""
    async with serve(Site()) as server:
        tab = await Tab.open(browser, server.url(path, "http"), None)
        if path == "/":
            # Names of the page and of the file do not conflict.
            await tab.page.add_script_tag(content="const connect = 1, Socket = 2;")
            await tab.page.add_script_tag(url="/wsroom.js")
            assert await tab.run("() => DoxWebSocket === wsroom.connect")
        else:
            await tab.until("() => window.imported")
            same = "imported.connect === wsroom.connect && imported.DoxWebSocket === DoxWebSocket"
            assert await tab.run(f"() => {same} && imported.WSRoomError === wsroom.WSRoomError")
        await tab.connect()
        assert await tab.call("socket.request('echo', 'hi')") == ["resolved", "hi"]
        assert tab.errors == []
        assert await run(tab.page, "() => socket.state") == "open"
