"""One attempt of a client to connect."""

from __future__ import annotations

import inspect
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from wsroom.errors import ConnectionLost
from wsroom.wire.encoding import MAX_PAYLOAD
from wsroom.wire.protocol import RESUME_SUBPROTOCOL, SUBPROTOCOL

CLOSE_TIMEOUT = 5.0
"""Seconds for the server's part of the closing handshake."""

Params = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `connect`, checked.

    Raises:
        ValueError: the URL is invalid, or a number is out of its range.

    """

    url: str
    params: Params | None = None
    headers: Mapping[str, str] | None = None
    buffer: int = 100
    max_retries: int | None = None
    retry_after: float = 0.5
    connect_timeout: float = 10.0
    request_timeout: float = 10.0
    ping_interval: float = 20.0
    ssl: tls.SSLContext | None = None
    stable_after: float = 5.0
    """Seconds of a connection after which the next loss counts as the first; for tests."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not the URL of a WebSocket; use ws://host/ws")
        if self.ssl is not None and parts.scheme in ("ws", "http"):
            raise ValueError(f"{self.url!r} has no TLS; use wss:// with ssl")
        for name in ("retry_after", "connect_timeout", "ping_interval"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use a number above 0")
        if self.buffer < 0 or (self.max_retries or 0) < 0:
            raise ValueError(
                f"buffer={self.buffer!r}, max_retries={self.max_retries!r}; use 0 or more"
            )


async def attempt(settings: Settings, *, resume: bool) -> ClientConnection:
    """Open a WebSocket; `resume` if the client is going to send `resume` first.

    Raises:
        ConnectionLost: the attempt failed; the code of a refusal is 4000 + its HTTP status.

    """
    names = [RESUME_SUBPROTOCOL, SUBPROTOCOL] if resume else [SUBPROTOCOL]
    # websockets refuses `ssl=None` for a wss URL.
    options: dict[str, Any] = {"ssl": settings.ssl} if settings.ssl else {}
    url = await _url(settings)
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(name) for name in names],
            additional_headers=dict(settings.headers or {}),
            open_timeout=settings.connect_timeout,
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_interval,
            close_timeout=CLOSE_TIMEOUT,
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
    added = urlencode(await _params(settings.params))
    query = f"{query}&{added}" if query and added else query or added
    return urlunsplit((scheme.replace("http", "ws"), host, path or "/", query, ""))


async def _params(params: Params | None) -> Mapping[str, str]:
    if not callable(params):
        return params or {}
    try:
        result = params()
        if inspect.isawaitable(result):
            result = await result
    except Exception as exc:
        raise ConnectionLost(1006, f"params() failed: {exc!r}") from exc
    return result or {}
