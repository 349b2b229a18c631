"""The README: its commands and its app work."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Browser, expect
from websockets.asyncio.client import connect

from tests.support.browsers import open_page
from tests.support.pages import blocks, load_app, save
from tests.support.paths import ROOT
from tests.support.peers import WAIT, Peer, bare
from tests.support.servers import program, serve

README = ROOT / "README.md"
COMMANDS = [block for block in blocks(README) if block.language == "sh"]


def test_the_first_screen_has_the_two_commands() -> None:
    """One command starts the chat and one runs the tests, both on the first screen."""
    first, second = COMMANDS[:2]
    assert second.line < 25
    assert first.text.count("\n") == second.text.count("\n") == 1
    assert first.text.startswith("python3 -m venv .venv && .venv/bin/pip install . && ")
    assert second.text == "python3 -m tests\n"


def test_the_readme_is_short() -> None:
    """It is 120 lines at most, its app 20, the script of its page 5."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120
    files = {block.file: block.text for block in blocks(README) if block.file}
    assert len(files["app.py"].splitlines()) <= 20
    script = files["index.html"].partition("<script>\n")[2].partition("</script>")[0]
    assert len(script.splitlines()) == 5


def test_the_commands_name_things_that_exist(tmp_path: Path) -> None:
    """Each app that a command serves exists, and so does `python3 -m tests`."""
    assert (ROOT / "tests" / "__main__.py").exists()
    assert (ROOT / "pyproject.toml").exists()
    (tmp_path / "hello").mkdir()
    save(README, tmp_path / "hello")
    served = [re.findall(r"uvicorn --app-dir (\S+) app:app$", b.text.strip()) for b in COMMANDS]
    assert served == [["examples/chat"], [], ["hello"]]
    for folder in (ROOT / "examples" / "chat", tmp_path / "hello"):
        load_app(folder)


async def test_the_app_runs_as_the_readme_says(tmp_path: Path) -> None:
    """Saved and served by plain uvicorn, it serves its page, and two clients chat."""
    folder = tmp_path / "hello"
    folder.mkdir()
    save(README, folder)
    command = ["-m", "uvicorn", "--app-dir", "hello", "app:app", "--port", "0"]
    async with program(*command, cwd=tmp_path) as server:
        line = await server.line("Uvicorn running on")
        port = re.findall(r":(\d+)", line)[0]
        url = f"ws://127.0.0.1:{port}/ws"
        async with connect(url, open_timeout=WAIT) as one, connect(url, open_timeout=WAIT) as two:
            a, b = Peer(one), Peer(two)
            for peer in (a, b):
                peer.id = (await peer.expect("connected"))["id"]
                await peer.join("chat")
            await a.send("typing")
            typing = {"event": "typing", "message": None, "sender": a.id, "room": "chat"}
            assert bare(await b.next()) == typing
            await a.send("say", "hi")
            said = {"event": "said", "message": "hi", "sender": a.id, "room": "chat"}
            assert bare(await a.next()) == said
            assert bare(await b.next()) == said


async def test_the_page_works_in_two_tabs(browser: Browser, tmp_path: Path) -> None:
    """The README's page, in a browser: each tab sees what the other says and does."""
    save(README, tmp_path)
    async with serve(load_app(tmp_path)) as server:
        tabs = [await open_page(browser, server.url("/", "http")) for _ in range(2)]
        for tab in tabs:
            await expect(tab.locator("#log")).to_contain_text("in the chat")
        await tabs[0].fill("input", "hello")
        await tabs[0].press("input", "Enter")
        for tab in tabs:
            await expect(tab.locator("#log")).to_contain_text("said hello")
        await expect(tabs[1].locator("#log")).to_contain_text("typing ws:")
