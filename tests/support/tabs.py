"""Pages with wsroom.js: their client, its log, and the frames on the wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

from playwright.async_api import Browser, Page, WebSocket

from tests.support.browsers import WAIT, open_page, run
from tests.support.servers import Server

# `log` holds the client's events, in order; a frame of the app as ["event", message].
CONNECT = """([url, options]) => {
    window.log = [];
    window.socket = wsroom.connect(url, options);
    socket.onState((state) => log.push(["state", state]));
    socket.onClose(({ code }) => log.push(["close", code]));
    socket.onError(({ code, message }) => log.push(["error", code ?? message]));
    socket.onResync((room) => log.push(["resync", room]));
    socket.onConnected(({ id }) => log.push(["connected", id === socket.id]));
    socket.on("said", (message) => log.push(["said", message]));
}"""

SETTLED = """() => {
    window.settled = (promise) => promise.then(
        (value) => ["resolved", value ?? null],
        ({ code, message }) => ["rejected", code ?? message],
    );
}"""

HAS = "([entry, count]) => log.filter((e) => JSON.stringify(e) === entry).length >= count"


class Sent(NamedTuple):
    """A frame on the wire, and the number of the page's connection."""

    connection: int
    frame: dict[str, Any]


class Tab:
    """A page with one client: `socket` in its scripts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[Sent] = []
        self.got: list[Sent] = []
        self.urls: list[str] = []
        """The URLs of its connections, one for each that was opened."""
        self.errors: list[str] = []
        """Uncaught exceptions of the page."""
        page.on("websocket", self._watch)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    @classmethod
    async def open(
        cls, browser: Browser, url: str, path: str | None = "/ws", options: str = "{}"
    ) -> Tab:
        """Open the page at `url`; connect to `path`, if any, with options written in JavaScript."""
        tab = cls(await open_page(browser, url))
        await tab.run(SETTLED)
        if path is not None:
            await tab.connect(path, options)
        return tab

    async def connect(self, path: str = "/ws", options: str = "{}") -> None:
        await run(self.page, f"() => ({CONNECT})([{json.dumps(path)}, {options}])")

    def _watch(self, socket: WebSocket) -> None:
        number = len(self.urls)
        self.urls.append(socket.url)
        socket.on("framesent", lambda raw: self.sent.append(Sent(number, json.loads(raw))))
        socket.on("framereceived", lambda raw: self.got.append(Sent(number, json.loads(raw))))

    async def run(self, script: str, argument: Any = None, seconds: float = WAIT) -> Any:
        """Run an expression, or a function of `argument`; wait for a promise."""
        return await run(self.page, script, argument, seconds)

    async def call(self, script: str) -> Any:
        """Await a promise: ["resolved", value] or ["rejected", code]."""
        return await self.run(f"() => settled({script})")

    async def until(self, script: str, argument: Any = None, seconds: float = WAIT) -> None:
        """Wait until an expression, or a function of `argument`, is true."""
        await self.page.wait_for_function(script, arg=argument, timeout=seconds * 1000)

    async def sees(self, *entry: Any, times: int = 1, seconds: float = WAIT) -> None:
        """Wait until the log has this entry."""
        text = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
        await self.until(HAS, [text, times], seconds)

    async def log(self, *kinds: str) -> list[Any]:
        """Remove and return the log, or its entries of these kinds."""
        entries = await self.run("() => log.splice(0)")
        return [entry for entry in entries if not kinds or entry[0] in kinds]

    async def opened(self) -> None:
        """Wait until the client is open."""
        await self.until("() => socket.state === 'open'")

    def frames(self, connection: int) -> list[tuple[str, Any]]:
        """Events and messages that one connection sent."""
        return [(f["event"], f.get("message")) for number, f in self.sent if number == connection]


class Pages:
    """A browser, and the server whose pages it opens."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.browser = browser
        self.server = server
        self.url = server.url("/", "http")
        self.tabs: list[Tab] = []

    async def open(self, path: str | None = "/ws", options: str = "{}") -> Tab:
        """Open another page; connect to `path`, if any, with options written in JavaScript."""
        tab = await Tab.open(self.browser, self.url, path, options)
        self.tabs.append(tab)
        return tab

    async def open_in(self, room: str, count: int = 2) -> list[Tab]:
        """Open several pages that are in a room."""
        tabs = await asyncio.gather(*(self.open() for _ in range(count)))
        for tab in tabs:
            await tab.run("(room) => socket.joinRoom(room)", room)
        return list(tabs)

    async def close(self) -> None:
        """Close them all."""
        await asyncio.gather(*(tab.page.context.close() for tab in self.tabs))
