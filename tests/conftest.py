"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import PROTOCOLS


@pytest.fixture(params=PROTOCOLS)
def ws(request: pytest.FixtureRequest) -> str:
    """Each of uvicorn's WebSocket implementations."""
    return str(request.param)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Assert afterwards that nothing was logged as an error."""
    yield caplog
    errors = [r for r in caplog.get_records("call") if r.levelname in ("ERROR", "CRITICAL")]
    assert not errors, [record.getMessage() for record in errors]
