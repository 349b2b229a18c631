"""One connection of a test to an app, in the same event loop."""

from __future__ import annotations

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from wsroom.asgi.types import ASGIApp, Message
from wsroom.tasks import WAITING
from wsroom.wire.protocol import Frame, read_offsets


class Refused(Exception):
    """The app said no: to a connection (`status`, or `close_code` with a subprotocol) or to a
    request (`code`).
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        close_code: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(f"{status or close_code or code}: {detail}")
        self.detail = detail
        self.status = status
        self.close_code = close_code
        self.code = code


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


class TestConnection(Loopback):
    """One client's connection."""

    __test__ = False

    def __init__(self, app: ASGIApp, scope: dict[str, Any], timeout: float) -> None:
        super().__init__(app, scope)
        self.id = ""
        """The socket's id, from `connected`."""
        self.session = ""
        """The session's secret, from `connected`, or from the connection that it resumed."""
        self.frames: list[Frame] = []
        """Every frame that has arrived so far, `connected` first."""
        self.offsets: dict[str, str] = {}
        """Where each room stands for this client, from all that has arrived; "" is the path."""
        self._timeout = timeout
        self._unread: list[Frame] = []
        self._ids = itertools.count(1)
        self._asked: dict[str | int, str] = {}

    def __repr__(self) -> str:
        return f"<TestConnection {self.id or 'not open'} on {self._scope['path']}>"

    # -- what a client does ----------------------------------------------------------------

    async def emit(self, event: str, message: Any = None, *, id: str | int | None = None) -> None:
        """Send a frame; `id` asks for a `reply`."""
        frame = {"event": event, "message": message}
        if id is not None:
            frame["id"] = id
            self._asked[id] = event
        await self.send_text(json.dumps(frame))

    async def request(
        self, event: str, message: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Send a frame with an id and wait for the answer; return the reply's message.

        Raises:
            Refused: the answer is an `error`; `code` and `detail` are its own.
            TimeoutError: no answer came in time.

        """
        id = f"test-{next(self._ids)}"
        await self.emit(event, message, id=id)
        frame = await self._next(lambda frame: frame.get("id") == id, f"answer to {event}", timeout)
        if frame["event"] == "error":
            raise Refused(frame["message"]["detail"], code=frame["message"]["code"])
        return frame["message"]

    async def join(self, *rooms: str, timeout: float | None = None) -> None:
        """Join rooms; raises Refused where a guard says no."""
        for room in rooms:
            await self.request("joinRoom", room, timeout=timeout)

    async def leave(self, *rooms: str, timeout: float | None = None) -> None:
        """Leave rooms."""
        for room in rooms:
            await self.request("leaveRoom", room, timeout=timeout)

    async def resume(
        self, earlier: TestConnection, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Get what was missed since an earlier connection, and go on with its session and rooms.

        Returns:
            for each of its rooms `{"recovered": ..., "offset": ...}` or `{"error": ...}`.

        """
        message = {"session": earlier.session, "rooms": earlier.offsets}
        answer = await self.request("resume", message, timeout=timeout)
        self.session = earlier.session
        rooms: dict[str, Any] = answer["rooms"]
        return rooms

    async def send_text(self, text: str) -> None:
        """Send a text frame as it stands, well formed or not."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})
        await asyncio.sleep(0)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": data})
        await asyncio.sleep(0)

    async def close(self, code: int = 1000, *, timeout: float | None = None) -> None:
        """Close from this side and wait until the app is done with the connection."""
        if not self._task.done():
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})
            limit = self._timeout if timeout is None else timeout
            await asyncio.wait([self._task], timeout=limit)
            if not self._task.done():
                raise TimeoutError(f"the app was not done with {self!r} {limit:g} s after its end")
        self._task.result()

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=self._timeout)

    # -- what a client hears ---------------------------------------------------------------

    async def receive(self, *, timeout: float | None = None) -> Frame:
        """Return the next frame that has not been read, whatever it is.

        Raises:
            TimeoutError: none came in time; the connection stays usable.

        """
        return await self._next(lambda frame: True, "frame", timeout)

    async def expect(self, event: str, *, timeout: float | None = None) -> Any:
        """Return the message of the next unread frame of `event`; others stay unread.

        Raises:
            TimeoutError: none came in time; it says what did. The connection stays usable.

        """
        frame = await self._next(lambda frame: frame["event"] == event, repr(event), timeout)
        return frame["message"]

    async def closed(self, *, timeout: float | None = None) -> int:
        """Wait until the app has closed the connection; return the close code."""
        await self._wait(lambda: self.close_code is not None, "a close", timeout)
        assert self.close_code is not None
        return self.close_code

    async def _next(
        self, wanted: Callable[[Frame], bool], name: str, timeout: float | None
    ) -> Frame:
        found: list[Frame] = []

        def look() -> bool:
            for index, frame in enumerate(self._unread):
                if wanted(frame):
                    found.append(self._unread.pop(index))
                    return True
            return False

        await self._wait(look, name, timeout)
        return found[0]

    async def _wait(self, done: Callable[[], bool], name: str, timeout: float | None) -> None:
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            arrived = ", ".join(map(json.dumps, self._unread)) or "nothing"
            if self.close_code is not None:
                arrived += f", then a close with {self.close_code}"
            raise TimeoutError(f"no {name} within {limit:g} s; arrived: {arrived}") from None

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._unread.append(frame)
        asked = self._asked.pop(frame.get("id", ""), "")
        for room, offset in read_offsets(frame, asked):
            if offset is None:
                self.offsets.pop(room, None)
            else:
                self.offsets[room] = offset

    async def _open(self, timeout: float | None) -> None:
        self._begin()
        await self._wait(self._decided, "answer to the handshake", timeout)
        if self._status is not None:
            raise Refused(self._body.decode(), status=self._status)
        if not self.frames:
            if self._task.done():
                self._task.result()
            raise Refused(self.close_reason, close_code=self.close_code)
        connected = self._unread.pop(0)["message"]
        self.id, self.session = connected["id"], connected["session"]

    def _decided(self) -> bool:
        return bool(self.frames) or self._task.done() or self.close_code is not None
