"""Fixtures that many tests share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

# Its plugin would import it at the end of a run without a test of its own, and there CPython before
# 3.11.8 can fail: "AST constructor recursion depth mismatch" (python/cpython#106905).
import hypothesis  # noqa: F401
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support import brokers
from tests.support.browsers import chromium
from tests.support.certificates import Certificate
from tests.support.servers import ORDINARY, PROTOCOLS, serve
from tests.support.site import Site
from tests.support.tabs import Pages

ONE_A_RUN = ("browser", "cluster", "postgres", "sentinel")
"""Fixtures that start once a run, because all tests that use one run in the same process."""

_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)  # before xdist takes the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a fixture of ONE_A_RUN, and start slow tests first."""
    for item in items:
        for name in ONE_A_RUN:
            if name in fixtures(item):
                item.add_marker(pytest.mark.xdist_group(name))
        if "browser" in fixtures(item):  # playwright's objects belong to the loop of their browser
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def fixtures(item: pytest.Item) -> set[object]:
    """Return the names of a test's fixtures, including those that another one requests by name."""
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*item.fixturenames, *(each for each in parameters if isinstance(each, str))}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """Each of uvicorn's WebSocket implementations."""
    return str(request.param)


@pytest.fixture(params=[*PROTOCOLS, ORDINARY])
def ws(request: pytest.FixtureRequest) -> str:
    """Each way between uvicorn and the app; `ws` of `serve`."""
    return str(request.param)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Assert afterwards that no error was logged."""
    yield caplog
    errors = [r for r in caplog.get_records("call") if r.levelname in ("ERROR", "CRITICAL")]
    assert not errors, [record.getMessage() for record in errors]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for servers of this run."""
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def prefix() -> str:
    """A prefix of keys and channels for this test alone, on a broker that tests share."""
    return f"wsroom{next(_numbers)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey() -> AsyncIterator[brokers.Broker]:
    """A Valkey for all tests of this process."""
    async with brokers.valkey() as broker:
        yield broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis() -> AsyncIterator[brokers.Broker]:
    """A Redis for all tests of this process; skips without one, or fails if CI is set."""
    async with brokers.redis() as broker:
        yield broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sentinel() -> AsyncIterator[brokers.Replicated]:
    """The run's Sentinel set-up; a test that kills its master heals it."""
    async with brokers.sentinel() as replicated:
        yield replicated


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster() -> AsyncIterator[brokers.Cluster]:
    """The run's cluster; a test that kills a node of it starts it again."""
    async with brokers.cluster() as nodes:
        yield nodes


@pytest.fixture
def site() -> Site:
    """The app of `pages`."""
    return Site()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_browser() -> AsyncIterator[Browser]:
    """The run's Chromium."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    """The run's Chromium without windows; those that the test opens are closed after it."""
    yield running_browser
    await asyncio.gather(*(context.close() for context in running_browser.contexts))


@pytest_asyncio.fixture(loop_scope="session")
async def pages(
    site: Site, browser: Browser, quiet: pytest.LogCaptureFixture
) -> AsyncIterator[Pages]:
    """Pages of `site`; an uncaught exception on one of them fails the test."""
    async with serve(site) as server:
        pages = Pages(browser, server)
        yield pages
        await pages.close()
        assert [error for tab in pages.tabs for error in tab.errors] == []
