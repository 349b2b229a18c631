"""HTTP responses, and refusals of WebSocket handshakes."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from wsroom.asgi.types import Receive, Scope, Send
from wsroom.errors import MAX_REASON
from wsroom.wire.protocol import choose_subprotocol, sanitize

logger = logging.getLogger("wsroom")

RawHeaders = list[tuple[bytes, bytes]]

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"

RETRY_AFTER = (b"retry-after", b"5")
"""Seconds until a refused client should try again, for those that do not choose by themselves."""


async def respond(
    scope: Scope,
    send: Send,
    status: int,
    body: str | bytes,
    content_type: str = TEXT,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a complete HTTP response, without the body if the request is HEAD."""
    content = body.encode() if isinstance(body, str) else body
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*_headers(content, content_type), *headers],
        }
    )
    if scope["method"] == "HEAD":
        content = b""
    await send({"type": "http.response.body", "body": content})


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    """Refuse a WebSocket handshake: with a status, or for our own clients with a close code.

    Browsers hide the status of a refused handshake from the page, but not a close code. So a client
    that offers a subprotocol of wsroom is accepted and closed with 4000 + the status.
    """
    subprotocol = choose_subprotocol(scope.get("subprotocols", ()))
    try:
        if subprotocol is None:
            await _deny(scope, send, status, detail)
        else:
            reason = sanitize(detail).encode()[:MAX_REASON].decode(errors="ignore")
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            await send({"type": "websocket.close", "code": 4000 + status, "reason": reason})
    except OSError:  # the peer has disconnected; ASGI specifies this exception
        return
    await settle(receive)


async def _deny(scope: Scope, send: Send, status: int, detail: str) -> None:
    # ASGI's denial response. If the server lacks that extension, the status is 403: that is ASGI's
    # answer to a close.
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    body = sanitize(detail or _phrase(status)).encode()
    headers = _headers(body, TEXT)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(RETRY_AFTER)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def settle(receive: Receive) -> None:
    """Wait for the disconnect messages after a refusal.

    If the app returns earlier, uvicorn logs an ERROR for a correct refusal: "ASGI callable returned
    without completing handshake". It queues two disconnects: one with the answer, one when the
    connection has closed. Other servers queue one, so the wait is short.
    """
    try:
        async with asyncio.timeout(1):
            for _ in range(2):
                await receive()
    except Exception:
        logger.debug("no second disconnect", exc_info=True)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "refused"


def _headers(body: bytes, content_type: str) -> RawHeaders:
    return [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
