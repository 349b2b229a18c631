"""HTTP responses, and refusals of WebSocket handshakes."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from wsroom.asgi.types import Receive, Scope, Send
from wsroom.errors import Reject
from wsroom.wire.protocol import sanitize

logger = logging.getLogger("wsroom")

RawHeaders = list[tuple[bytes, bytes]]

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"


async def respond(
    scope: Scope,
    send: Send,
    status: int,
    body: str,
    content_type: str = TEXT,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a complete HTTP response, without the body if the request is HEAD."""
    content = body.encode()
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


async def deny(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    """Refuse a WebSocket handshake with a status and a sentence (ASGI's denial response).

    If the server lacks that extension, the status is 403: that is ASGI's answer to a close.
    """
    body = sanitize(detail or _phrase(status)).encode()
    try:
        if "websocket.http.response" in (scope.get("extensions") or {}):
            headers = _headers(body, TEXT)
            await send(
                {"type": "websocket.http.response.start", "status": status, "headers": headers}
            )
            await send({"type": "websocket.http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
    except OSError:  # the peer has disconnected; ASGI specifies this exception
        return
    await settle(receive)


async def refuse(
    scope: Scope, receive: Receive, send: Send, refusal: Reject, subprotocol: str | None
) -> None:
    """Refuse a handshake with the app's `Reject`: by `deny`, or by a close code for our clients.

    Browsers hide the status of a refused handshake from the page, but not a close code.
    """
    if subprotocol is None:
        await deny(scope, receive, send, refusal.status, refusal.detail)
        return
    code = 4000 + refusal.status
    reason = sanitize(refusal.detail).encode()[:123].decode(errors="ignore")
    try:
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        await send({"type": "websocket.close", "code": code, "reason": reason})
    except OSError:
        return
    await settle(receive)


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
