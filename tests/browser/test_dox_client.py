"""The published npm client of Dox WebSocket, unchanged, in a browser; and wsroom.js instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, WebSocket

from tests.support.browsers import open_page, run
from tests.support.npm import fetch
from tests.support.peers import bare, peer
from tests.support.servers import Server, serve
from wsroom import Emitter, WSRoom

# `connected` has an unpredictable id, so it is checked separately.
OPEN = """(url) => new Promise((resolve) => {
    window.heard = [];
    window.calls = [];
    window.dox = DoxWebSocket(url);
    dox.onConnected((...values) => resolve({ values, id: dox.id }));
    for (const event of ["intro", "noti"])
        dox.on(event, (message, sender, room) => calls.push([event, message, sender, room]));
    const protocol = ["connected", "reply"];
    dox.on("*", (frame) => protocol.includes(frame.event) || heard.push(frame));
})"""


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download the published package; return its folder."""
    return fetch("@dartondox/websocket", "1.0.14", tmp_path_factory.mktemp("dox"))


def dox() -> WSRoom:
    """The app of Dox's documentation, with an empty page."""
    app = WSRoom()

    @app.page("/")
    def page() -> str:
        return "<!doctype html><title>empty</title>"

    @app.on("intro")
    async def intro(emitter: Emitter, message: object) -> None:
        await emitter.to("chat").emit_except_sender("intro", message)

    @app.on("noti")
    async def noti(emitter: Emitter, message: object) -> None:
        await emitter.to("chat").emit("noti", message)

    @app.on("echo")
    async def echo(emitter: Emitter, message: object) -> None:
        await emitter.emit_to_sender("noti", message)

    return app


class Tab:
    """A page with the client connected."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.id = ""
        self.sent: list[dict[str, Any]] = []
        page.on("websocket", self._watch)

    @classmethod
    async def open(cls, browser: Browser, server: Server, client: Path | None) -> Tab:
        """Open a page with the package in this folder, or with wsroom.js."""
        tab = cls(await open_page(browser, server.url("/", "http")))
        if client is None:
            await tab.page.add_script_tag(url="/wsroom.js")
        else:
            # The package is CommonJS, which browsers do not support: it sets `exports.default`.
            await tab.page.add_script_tag(content="var exports = {};")
            await tab.page.add_script_tag(path=client / "dist" / "index.js")
        connected = await run(tab.page, OPEN, server.url())
        (message, sender, room), tab.id = connected["values"], connected["id"]
        assert (message["id"], sender, room) == (tab.id, tab.id, None)
        return tab

    def _watch(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: self.sent.append(json.loads(payload)))

    async def emit(self, event: str, message: Any) -> None:
        await run(self.page, "([event, message]) => dox.emit(event, message)", [event, message])

    async def join(self, room: str) -> None:
        """Join a room, and wait for the next answer, which arrives once the join is effective."""
        await run(self.page, "(room) => dox.joinRoom(room)", room)
        await self.emit("echo", f"in {room}")
        await self.heard(
            {"event": "noti", "message": f"in {room}", "sender": self.id, "room": None}
        )

    async def heard(self, *frames: dict[str, Any]) -> None:
        """Assert that exactly these frames arrive next."""
        await self.page.wait_for_function("(count) => heard.length >= count", arg=len(frames))
        got = await run(self.page, "() => heard.splice(0)")
        assert [bare(frame) for frame in got] == list(frames)

    async def calls(self) -> Any:
        """Return the calls of the listeners of `on`."""
        return await run(self.page, "() => calls.splice(0)")


@pytest.mark.parametrize("published", [True, False], ids=["published", "wsroom.js"])
async def test_the_published_client_works(
    client: Path, published: bool, browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """Two pages with the client chat in a room: `on`, "*", `emit` and `joinRoom` work."""
    async with serve(dox()) as server:
        a = await Tab.open(browser, server, client if published else None)
        b = await Tab.open(browser, server, None)
        assert a.id != b.id
        await a.join("chat")
        await b.join("chat")
        assert [await a.calls(), await b.calls()] == [
            [["noti", "in chat", tab.id, None]] for tab in (a, b)
        ]

        await a.emit("intro", "hi")
        intro = {"event": "intro", "message": "hi", "sender": a.id, "room": "chat"}
        await b.heard(intro)
        await b.emit("noti", {"n": 1})
        noti = {"event": "noti", "message": {"n": 1}, "sender": b.id, "room": "chat"}
        await b.heard(noti)
        await a.heard(noti)  # and no `intro` before it
        assert await a.calls() == [["noti", {"n": 1}, b.id, "chat"]]
        assert await b.calls() == [["intro", "hi", a.id, "chat"], ["noti", {"n": 1}, b.id, "chat"]]


async def test_the_room_that_the_client_adds_to_frames_is_ignored(
    client: Path, browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """The client names its latest room in every frame; the handler alone decides where to emit."""
    async with serve(dox()) as server, peer(server) as other:
        await other.join("chat")
        tab = await Tab.open(browser, server, client)
        await tab.join("chat")
        await tab.join("attic")
        await tab.emit("noti", "still in both")
        noti = {"event": "noti", "message": "still in both", "sender": tab.id, "room": "chat"}
        assert bare(await other.next()) == noti
        await tab.heard(noti)
        assert tab.sent[-1] == {"event": "noti", "message": "still in both", "room": "attic"}
