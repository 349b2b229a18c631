"""One WebSocket connection to an ASGI app in the same event loop: the server's side, for tests."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from typing import Any

from wsroom.asgi import ASGIApp, Message
from wsroom.inbox import WAITING

Frame = dict[str, Any]


class Loopback(ABC):
    """Calls the app as a server would, and takes what it sends."""

    _task: asyncio.Future[None]

    def __init__(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        self.subprotocol: str | None = None
        """The subprotocol that the app chose."""
        self.close_code: int | None = None
        """The code with which the app closed the connection; None while it is open."""
        self.close_reason = ""
        self._app = app
        self._scope = scope
        self._news = asyncio.Event()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._status: int | None = None
        self._body = b""
        self._waiting: asyncio.Task[Any] | None = None

    def _begin(self) -> None:
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        self._task.add_done_callback(lambda task: self._news.set())

    @abstractmethod
    def _take(self, frame: Frame) -> None:
        """A frame has arrived."""

    @property
    def _idle(self) -> bool:
        if self._task.done():
            return True
        # Whoever waits for a frame does so for the app's own task, not beside its handler.
        waiting = self._waiting
        waits = waiting is not None and (waiting is self._task or waiting.get_name() == WAITING)
        return waits and self._inbox.empty()

    async def _receive(self) -> Message:
        self._waiting = asyncio.current_task()
        try:
            return await self._inbox.get()
        finally:
            self._waiting = None

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
        elif kind == "websocket.send":
            self._take(json.loads(message["text"]))
        elif kind == "websocket.close":
            self.close_code = message.get("code", 1000)
            self.close_reason = message.get("reason") or ""
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": self.close_code})
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            self._body += message.get("body", b"")
            for _ in range(2):  # as uvicorn does
                self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._news.set()
