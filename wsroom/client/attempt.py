"""One attempt of a client to connect."""

from __future__ import annotations

import inspect
import ssl as tls
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from wsroom.errors import ConnectionLost
from wsroom.wire.protocol import MAX_PAYLOAD, RESUME_SUBPROTOCOL, SUBPROTOCOL

CLOSING = 5.0
"""Seconds for the server's part of a close."""


class Settings(NamedTuple):
    """What `connect` was given."""

    url: str
    params: Any
    headers: dict[str, str]
    buffer: int
    max_retries: int | None
    retry_after: float
    connect_timeout: float
    ping_interval: float
    ssl: tls.SSLContext | None

    def check(self) -> None:
        """Raise ValueError for a URL that is none, or a number out of its range."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is no URL of a WebSocket; use ws://host/ws")
        for name in ("retry_after", "connect_timeout", "ping_interval"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use a number above 0")
        if self.buffer < 0 or (self.max_retries or 0) < 0:
            raise ValueError(
                f"buffer={self.buffer!r}, max_retries={self.max_retries!r}; use 0 or more"
            )


async def attempt(settings: Settings, again: bool) -> ClientConnection:
    """Open a WebSocket; `again` where the client means to resume.

    Raises:
        ConnectionLost: it did not work; a refusal by an HTTP status has the code 4000 + status.

    """
    names = [RESUME_SUBPROTOCOL, SUBPROTOCOL] if again else [SUBPROTOCOL]
    # Without a context of one's own, `ssl` must not be given at all.
    options: dict[str, Any] = {"ssl": settings.ssl} if settings.ssl else {}
    url = await _url(settings)
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(name) for name in names],
            additional_headers=settings.headers,
            open_timeout=settings.connect_timeout,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_interval,
            close_timeout=CLOSING,
            max_size=2 * MAX_PAYLOAD,
            **options,
        )
    except InvalidStatus as exc:
        reason = exc.response.body.decode(errors="replace")[:200]
        raise ConnectionLost(4000 + exc.response.status_code, reason) from exc
    except (OSError, WebSocketException) as exc:
        raise ConnectionLost(1006, f"cannot connect: {exc}") from exc


async def _url(settings: Settings) -> str:
    scheme, host, path, query, _ = urlsplit(settings.url)
    params = settings.params
    if callable(params):
        try:
            params = params()
            if inspect.isawaitable(params):
                params = await params
        except Exception as exc:
            raise ConnectionLost(1006, f"params() failed: {exc!r}") from exc
    more = urlencode(params or {})
    query = f"{query}&{more}" if query and more else query or more
    return urlunsplit((scheme.replace("http", "ws"), host, path or "/", query, ""))
