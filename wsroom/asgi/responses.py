"""The app's few HTTP answers: pages, health, and why something is no WebSocket."""

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
    """Send a whole HTTP response, without the body where the request was HEAD."""
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

    Where the server has no such extension it is a 403, which is what ASGI makes of a close.
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
    except OSError:  # the peer did not wait for the answer; ASGI's word for that
        return
    await settle(receive)


async def refuse(
    scope: Scope, receive: Receive, send: Send, refusal: Reject, subprotocol: str | None
) -> None:
    """Refuse a handshake as the app said: by `deny`, or to our own clients by a close code.

    Browsers hide the status of a refused handshake from the page; a close code they show.
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
    """Wait until the server has noticed the end itself.

    uvicorn logs an ERROR, "ASGI callable returned without completing handshake", for a correct
    refusal when the app returns before that. It queues two disconnects: one with the answer, one
    when the connection is really gone. Others have one, so the wait is short.
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
