"""docs/from-dox.md: its code, its command and its frames work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.browsers import open_page
from tests.support.clock import until
from tests.support.npm import fetch
from tests.support.pages import blocks, load_app, save
from tests.support.paths import ROOT
from tests.support.peers import bare, peer
from tests.support.servers import program, serve
from wsroom import WSRoom

PAGE = ROOT / "docs" / "from-dox.md"
BLOCKS = blocks(PAGE)
URL = "ws://127.0.0.1:8000/ws"


@pytest.fixture
def app(tmp_path: Path) -> WSRoom:
    """The page's app: its controller, and the two lines that register it; and an empty page."""
    save(PAGE, tmp_path)
    app = load_app(tmp_path)

    @app.page("/")
    def page() -> str:
        return "<!doctype html>"

    return app


def scripts(part: str) -> str:
    (found,) = [block.text for block in BLOCKS if block.language == "js" and part in block.text]
    return found


async def test_the_controller_does_what_it_does_in_dox(app: WSRoom) -> None:
    """`intro` reaches the others in the room, `noti` all of its members."""
    async with serve(app) as server, peer(server) as a, peer(server) as b:
        for each in (a, b):
            await each.join("chat")
        await a.send("intro", "hi")
        intro = {"event": "intro", "message": "hi", "sender": a.id, "room": "chat"}
        assert bare(await b.next()) == intro
        await b.send("noti", "yes")
        noti = {"event": "noti", "message": "yes", "sender": b.id, "room": "chat"}
        assert [bare(await each.next()) for each in (a, b)] == [noti, noti]


async def test_the_command_writes_the_controller(tmp_path: Path) -> None:
    """The page's command writes the file that the page shows."""
    (command,) = [block.text.split() for block in BLOCKS if block.language == "sh"]
    assert command[0] == "wsroom"
    async with program("-m", *command, cwd=tmp_path) as run:
        assert await run.end() == 0, run.output
    written = (tmp_path / "chat_controller.py").read_text()
    shown = next(block.text for block in BLOCKS if block.file == "chat_controller.py")
    lines = [line for line in written.partition('"""\n\n')[2].splitlines() if "# " not in line]
    assert shown.splitlines()[: len(lines)] == lines
    registration = next(block.text for block in BLOCKS if block.file == "app.py")
    for line in re.findall(r"^(?:from chat_|app\.).*$", written, re.MULTILINE):
        assert line in registration


async def test_the_frames_are_understood(app: WSRoom) -> None:
    """Each frame of the page, as it stands."""
    frames = [block.text for block in BLOCKS if block.language == "json"]
    assert [json.loads(frame)["event"] for frame in frames] == ["intro", "joinRoom"]
    async with serve(app) as server, peer(server) as a, peer(server) as b:
        await b.join("chat")
        for frame in reversed(frames):
            await a.raw(frame)
        assert (await b.expect("intro")) == json.loads(frames[0])["message"]
        await b.send("noti", "both are there")
        for each in (a, b):
            assert await each.expect("noti") == "both are there"


async def console(page: Page, script: str) -> list[str]:
    said: list[str] = []
    page.on("console", lambda told: said.append(told.text) if told.type == "log" else None)
    await page.add_script_tag(content=f"{{{script}}}")
    return said


async def test_the_script_works_in_a_browser(app: WSRoom, browser: Browser) -> None:
    """Without any library."""

    async with serve(app) as server:
        tab = await open_page(browser, server.url("/", "http"))
        said = await console(tab, scripts("new WebSocket").replace(URL, server.url()))
        await until(lambda: said == ["connected", "noti"])


async def test_the_client_of_dox_works_in_a_browser(
    app: WSRoom, browser: Browser, tmp_path: Path
) -> None:
    """The published package with the page's script, except for its import."""

    package = fetch("@dartondox/websocket", "1.0.14", tmp_path)
    imports, _, rest = scripts("DoxWebsocket(").partition("\n")
    assert imports == 'import DoxWebsocket from "@dartondox/websocket";'
    async with serve(app) as server:
        tab = await open_page(browser, server.url("/", "http"))
        await tab.add_script_tag(content="var exports = {};")
        await tab.add_script_tag(path=package / "dist" / "index.js")
        rest = f"const DoxWebsocket = exports.default;\n{rest}"
        said = await console(tab, rest.replace(URL, server.url()))
        await until(lambda: len(said) == 2)
        assert said[0].startswith("id ws:") and said[1] == "noti Hello!"
        server.should_exit = True
        await until(lambda: "closed" in said)


async def test_the_python_client_works(app: WSRoom) -> None:
    """The page's function; Dox's other members receive its messages."""
    (source,) = [block.text for block in BLOCKS if "say_hello" in block.text]
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    async with serve(app) as server, peer(server) as other:
        await other.join("chat")
        await namespace["say_hello"](server.url())
        assert await other.expect("intro") == "Hello!"
