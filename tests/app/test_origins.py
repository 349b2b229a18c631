"""Which pages may connect."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.peers import peer
from tests.support.servers import serve
from wsroom import SetupError, WSRoom
from wsroom.asgi.handshake import Headers, Origins

CASES: list[tuple[list[str] | None, str | None, str, bool]] = [
    (None, None, "example.com", True),
    (None, "https://example.com", "example.com", True),
    (None, "http://example.com", "example.com", True),
    (None, "http://EXAMPLE.com", "example.COM", True),
    (None, "http://example.com:8000", "example.com:8000", True),
    (None, "https://example.com", "example.com:443", True),
    (None, "http://example.com", "example.com:80", True),
    (None, "http://[::1]:8000", "[::1]:8000", True),
    (None, "http://example.com:8001", "example.com:8000", False),
    (None, "http://example.com", "example.com:8000", False),
    (None, "https://example.com", "example.com:80", False),
    (None, "https://evil.example", "example.com", False),
    (None, "https://example.com.evil.example", "example.com", False),
    (None, "https://evil.example/example.com", "example.com", False),
    (None, "https://example.com@evil.example", "example.com", False),
    (None, "https://user@example.com", "example.com", False),
    (None, "null", "example.com", False),
    (None, "", "example.com", False),
    (None, "null", "", False),
    (None, "http://", "", False),
    (None, "file://", "", False),
    (None, "http://[", "example.com", False),
    (None, "http://example.com:x", "example.com", False),
    (None, "https://example.com, https://evil.example", "example.com", False),
    (["https://app.example"], "https://app.example", "api.example", True),
    (["https://app.example"], "https://app.example:443", "api.example", True),
    (["https://app.example"], "http://app.example", "api.example", False),
    (["https://app.example"], "https://sub.app.example", "api.example", False),
    (["https://app.example"], "https://api.example", "api.example", True),
    (["https://app.example"], "null", "api.example", False),
    (["chrome-extension://abc"], "chrome-extension://abc", "api.example", True),
    (["*"], "https://evil.example", "example.com", True),
    (["*"], "null", "example.com", True),
]


@pytest.mark.parametrize("allowed, origin, host, expected", CASES)
def test_origins(allowed: list[str] | None, origin: str | None, host: str, expected: bool) -> None:
    """A page's origin is the server's own host or one that was allowed; null is refused."""
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    assert Origins(allowed).allow(Headers(headers)) is expected


@pytest.mark.parametrize("origin", ["example.com", "null", "https://example.com/", "https://", ""])
def test_an_allowed_origin_must_be_one(origin: str) -> None:
    """A typing error would refuse the page, or allow others."""
    with pytest.raises(SetupError, match="must look like"):
        WSRoom(origins=[origin])


def test_origins_is_a_list() -> None:
    """A string would be read as a list of letters."""
    with pytest.raises(SetupError, match="give a list"):
        WSRoom(origins="*")


@pytest.mark.parametrize("origins, status", [(None, 403), (["https://app.example"], 101)])
async def test_a_foreign_page_is_refused_before_the_handshake(
    origins: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """403; one log line for each origin says what to add."""
    app = WSRoom(origins=origins)
    app.add_hook("on_open", lambda emitter: None)
    async with serve(app) as server:
        if status == 101:
            async with peer(server, origin="https://app.example"):
                return
        with pytest.raises(InvalidStatus) as caught:
            async with connect(server.url(), additional_headers={"Origin": "https://app.example"}):
                pass
        assert caught.value.response.status_code == 403
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                async with connect(server.url(), additional_headers={"Origin": "null"}):
                    pass
    said = [record.getMessage() for record in caplog.records if record.name == "wsroom"]
    assert said == [
        "a page of 'https://app.example' may not connect to /ws"
        "; to allow it: WSRoom(origins=['https://app.example'])",
        "a page of 'null' may not connect to /ws",
    ]
