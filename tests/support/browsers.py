"""The system's Chromium, driven by playwright."""

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
    "--no-sandbox",  # Chromium's sandbox does not work for root, as in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
]
WAIT = 10 * SECOND
"""Timeout of every wait for a page."""

# In milliseconds, for all calls of playwright's `expect`.
expect.set_options(timeout=WAIT * 1000)


def find_chromium() -> str:
    """Find the system's Chromium, or fail the test."""
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
    """Open `url` in a context of its own, without storage or cookies of others."""
    context = await browser.new_context()
    context.set_default_timeout(WAIT * 1000)
    page = await context.new_page()
    await page.goto(url)
    return page


async def run(page: Page, script: str, argument: Any = None, seconds: float = WAIT) -> Any:
    """Run a JavaScript function in the page; return its result, also if it is a promise."""
    async with asyncio.timeout(seconds):
        return await page.evaluate(script, argument)
