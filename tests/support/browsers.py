"""A real browser for the tests: the system's Chromium, driven by playwright."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.clock import SECOND

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGS = [
    "--no-sandbox",  # Chromium's own does not run as root, which is what containers are
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]
WAIT = 10 * SECOND
"""How long a page has for anything."""

# playwright counts in milliseconds, and keeps this one number for all its `expect`.
expect.set_options(timeout=WAIT * 1000)


def find_chromium() -> str:
    """Find the system's Chromium; without one the test fails, it is not skipped."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.fail("the tests in a browser need Chromium: apt-get install chromium")


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium while the body runs."""
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


async def open_page(browser: Browser, url: str) -> Page:
    """Open `url` in a window that shares nothing with the others, no storage and no cookies."""
    context = await browser.new_context()
    context.set_default_timeout(WAIT * 1000)
    page = await context.new_page()
    await page.goto(url)
    return page


async def run(page: Page, script: str, argument: Any = None) -> Any:
    """Run a function of JavaScript in the page; wait for what it returns, a promise as well."""
    async with asyncio.timeout(WAIT):
        return await page.evaluate(script, argument)
