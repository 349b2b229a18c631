"""examples/board in Chromium: two people at one board."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.brokers import Broker
from tests.support.browsers import open_page
from tests.support.clock import SECOND
from tests.support.pages import load_example
from tests.support.paths import EXAMPLES
from tests.support.processes import Owned, free_port
from tests.support.servers import serve

PASSWORDS = {"ada": "lovelace", "bob": "builder"}


class Workers(Owned):
    """uvicorn with the example, as the example says to run it."""

    def __init__(self, folder: Path, count: int, redis: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}/"
        args = ("--app-dir", EXAMPLES / "board", "--port", str(port), "--workers", str(count))
        env = {"BOARD_DATABASE": f"sqlite:///{folder / 'board.db'}", "BOARD_KEY": "k" * 32}
        env |= {"WSROOM_REDIS_URL": redis} if count > 1 else {}
        command = (sys.executable, "-m", "uvicorn", *args, "app:app")
        super().__init__(folder / "log", *command, env=env)

    async def ready(self) -> bool:
        # The parent listens before any worker serves.
        async with httpx.AsyncClient(timeout=2 * SECOND) as client:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get(self.url + "readyz")).status_code == 200
        return False


@pytest_asyncio.fixture(params=[1, 2], ids=["one worker", "two workers"], loop_scope="session")
async def workers(
    request: pytest.FixtureRequest, tmp_path: Path, valkey: Broker
) -> AsyncIterator[Workers]:
    running = Workers(tmp_path, request.param, valkey.url)
    try:
        await running.start()
        yield running
        await running.stop()
    finally:
        running.end()


async def log_in(page: Page, name: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORDS[name])
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("status")).to_have_text("open")


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Say something").fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_two_people_work_on_a_board(workers: Workers, browser: Browser) -> None:
    """Cards, moves, the chat and typing reach the other page; a reload shows the last messages."""
    ada, bob = [await open_page(browser, workers.url) for _ in range(2)]
    await log_in(ada, "ada")
    await log_in(bob, "bob")
    await ada.get_by_label("A new card").fill("Write it")
    await ada.get_by_role("button", name="Add").click()
    for page in (ada, bob):
        await expect(page.locator("#todo .card")).to_contain_text("Write it")
    await bob.get_by_label("Move to doing").click()
    for page in (ada, bob):
        await expect(page.locator("#doing .card")).to_contain_text("Write it")
        await expect(page.locator("#todo .card")).to_have_count(0)
    await bob.get_by_label("Say something").fill("Hel")
    await expect(ada.locator("#typing")).to_have_text("bob is typing…")
    await say(bob, "Hello")
    await expect(ada.locator("#log li").last).to_contain_text("bob: Hello")
    await expect(ada.locator("#typing")).to_have_text("")

    await ada.reload()
    await expect(ada.locator("#doing .card")).to_contain_text("Write it")
    notes = [text for text in await ada.locator("#log li").all_inner_texts()]
    for note, end in zip(
        notes, ["added: Write it", "moved to doing: Write it", "Hello"], strict=True
    ):
        assert note.endswith(end)

    await ada.get_by_label("Board").select_option("home")
    await expect(ada.locator(".card")).to_have_count(0)
    await bob.get_by_label("Board").select_option("home")
    await expect(bob.get_by_role("alert").last).to_have_text("This board is not yours.")


async def test_a_login_that_expires_is_renewed(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asks for the password, opens its socket again, and gets what it missed, once."""
    monkeypatch.setenv("BOARD_DATABASE", f"sqlite:///{tmp_path / 'board.db'}")
    app = load_example("board")
    module = sys.modules["examples_board"]
    async with serve(app) as server:
        ada, bob = [await open_page(browser, server.url("/", "http")) for _ in range(2)]
        await log_in(bob, "bob")
        monkeypatch.setattr(module, "LOGIN", timedelta(seconds=4 * SECOND))
        await log_in(ada, "ada")
        await say(ada, "before")
        await expect(ada.locator("#log li")).to_have_count(1)
        await expect(ada.locator("#refusal")).to_have_text("The login has expired.")
        await say(bob, "missed")
        await expect(bob.locator("#log li")).to_have_count(2)
        monkeypatch.undo()
        await log_in(ada, "ada")
        await say(ada, "after")
        for page in (ada, bob):
            await expect(page.locator("#log li")).to_have_count(3)
            notes = await page.locator("#log li").all_inner_texts()
            assert [note.split(": ")[-1] for note in notes] == ["before", "missed", "after"]
        for page in (ada, bob):
            await page.context.close()
