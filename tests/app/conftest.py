"""Both ways in, for tests with a TestClient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import linked


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test twice if it uses the TestClient of tests/support/linked.py."""
    imported = getattr(metafunc.module, "TestClient", None)
    if imported is linked.TestClient and "TestClient" in metafunc.function.__code__.co_names:
        metafunc.parametrize("each_way", ["asgi", "link"], indirect=True)


@pytest.fixture(autouse=True)
def each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """TestClients call the app as a server does, or send it bytes through uvicorn and a link."""
    linked.TestClient.linked = getattr(request, "param", "asgi") == "link"
    yield
    linked.TestClient.linked = False
