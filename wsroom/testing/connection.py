"""A connection of a test to an app, in the same event loop."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

from wsroom.asgi.types import ASGIApp, Message
from wsroom.tasks import WAITING
from wsroom.wire.joins import join_message
from wsroom.wire.protocol import Frame, read_offsets


class Refused(Exception):
    """The app refused a connection, or answered a request with an error.

    Attributes:
        detail: the reason, a sentence.
        status: the HTTP status of a refused connection without a subprotocol.
        close_code: the close code of a refused connection with one.
        code: the code of the `error` that answered a request.
        data: what the app's `Reject` added to the `error`; None without it.

    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        close_code: int | None = None,
        code: str | None = None,
        data: Any = None,
    ) -> None:
        super().__init__(f"{status or close_code or code}: {detail}")
        self.detail = detail
        self.status = status
        self.close_code = close_code
        self.code = code
        self.data = data


class TestConnection:
    """One client's connection; `TestClient.connect` makes it."""

    __test__ = False  # pytest takes classes called Test... for tests

    _task: asyncio.Future[None]  # the app's; from `_open` on

    def __init__(self, app: ASGIApp, scope: dict[str, Any], timeout: float) -> None:
        self.subprotocol: str | None = None
        """The subprotocol that the app chose."""
        self.close_code: int | None = None
        """The code with which the app closed the connection; None while it is open."""
        self.close_reason = ""
        self.id = ""
        """The socket's id, from `connected`."""
        self.session = ""
        """The session's secret, from `connected`, or from the connection that it resumed."""
        self.frames: list[Frame] = []
        """Every frame that has arrived so far, `connected` first."""
        self.offsets: dict[str, str] = {}
        """The last offset that has arrived of each room; "" is the path."""
        self._app = app
        self._scope = scope
        self._timeout = timeout
        self._changed = asyncio.Event()  # a frame, a close, or the end of the app's task
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._receiver: asyncio.Task[Any] | None = None
        self._status: int | None = None
        self._body = b""
        self._unread: list[Frame] = []
        self._ids = itertools.count(1)
        self._asked: dict[str | int, str] = {}

    def __repr__(self) -> str:
        return f"<TestConnection {self.id or 'not open'} on {self._scope['path']}>"

    # -- sending ---------------------------------------------------------------------------

    async def emit(self, event: str, message: Any = None, *, id: str | int | None = None) -> None:
        """Send a frame; `id` asks for a `reply`."""
        frame: Frame = {"event": event, "message": message}
        if id is not None:
            frame = {"id": id, **frame}
            self._asked[id] = event
        await self.send_text(json.dumps(frame))

    async def request(
        self, event: str, message: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Send a frame with an id and wait for the answer; return the reply's message.

        Raises:
            Refused: the answer is an `error`; `code` and `detail` are its own.
            TimeoutError: there was no answer in time.

        """
        id = f"test-{next(self._ids)}"
        await self.emit(event, message, id=id)
        frame = await self._next(lambda frame: frame.get("id") == id, f"answer to {event}", timeout)
        if frame["event"] == "error":
            error = frame["message"]
            raise Refused(error["detail"], code=error["code"], data=error.get("data"))
        return frame["message"]

    async def join(
        self,
        *rooms: str,
        last: int | None = None,
        since: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Join rooms, with their history if `last` or `since` is given.

        Returns:
            the whole reply for the last room: `room`, `offset`, `replayed`, `recovered`, and with
            presence `members`, `count`.

        Raises:
            Refused: a guard refuses.

        """
        answer: dict[str, Any] = {}
        for room in rooms:
            message = join_message(room, last, since)
            answer = await self.request("joinRoom", message, timeout=timeout)
        return answer

    async def leave(self, *rooms: str, timeout: float | None = None) -> None:
        """Leave rooms."""
        for room in rooms:
            await self.request("leaveRoom", room, timeout=timeout)

    async def resume(
        self, earlier: TestConnection, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Resume an earlier connection: take over its session and rooms, and get what it missed.

        Returns:
            for each of its rooms `{"recovered": ..., "offset": ...}` or `{"error": ...}`.

        """
        message = {"session": earlier.session, "rooms": earlier.offsets}
        answer = await self.request("resume", message, timeout=timeout)
        self.session = earlier.session
        rooms: dict[str, Any] = answer["rooms"]
        return rooms

    async def send_text(self, text: str) -> None:
        """Send a text frame unchanged, valid or not."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})
        await asyncio.sleep(0)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": data})
        await asyncio.sleep(0)

    async def close(self, code: int = 1000, *, timeout: float | None = None) -> None:
        """Close from this side and wait until the app has ended the connection.

        Raises:
            TimeoutError: the app did not end it in time.

        """
        if not self._task.done():
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})
            limit = self._timeout if timeout is None else timeout
            await asyncio.wait([self._task], timeout=limit)
            if not self._task.done():
                raise TimeoutError(f"the app did not end {self!r} within {limit:g} s of its close")
        self._task.result()

    async def cut(self, *, timeout: float | None = None) -> None:
        """Lose the connection, without a close frame, and wait until the app has noticed.

        In presence, the member of a connection that was lost stays for its grace.

        Raises:
            TimeoutError: the app did not end it in time.

        """
        await self.close(1006, timeout=timeout)

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=self._timeout)

    # -- receiving -------------------------------------------------------------------------

    async def receive(self, *, timeout: float | None = None) -> Frame:
        """Return the next unread frame, of any event.

        Raises:
            TimeoutError: none arrived in time; the connection stays usable.

        """
        return await self._next(lambda frame: True, "frame", timeout)

    async def expect(self, event: str, *, timeout: float | None = None) -> Any:
        """Return the message of the next unread frame of `event`; others stay unread.

        Raises:
            TimeoutError: none arrived in time; the error shows the unread frames. The connection
                stays usable.

        """
        frame = await self._next(lambda frame: frame["event"] == event, repr(event), timeout)
        return frame["message"]

    async def closed(self, *, timeout: float | None = None) -> int:
        """Wait until the app has closed the connection; return the close code."""
        await self._wait(lambda: self.close_code is not None, "close", timeout)
        assert self.close_code is not None
        return self.close_code

    async def _next(
        self, wanted: Callable[[Frame], bool], name: str, timeout: float | None
    ) -> Frame:
        found: list[Frame] = []

        def find() -> bool:
            for index, frame in enumerate(self._unread):
                if wanted(frame):
                    found.append(self._unread.pop(index))
                    return True
            return False

        await self._wait(find, name, timeout)
        return found[0]

    async def _wait(self, done: Callable[[], bool], name: str, timeout: float | None) -> None:
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            arrived = ", ".join(map(json.dumps, self._unread)) or "nothing"
            if self.close_code is not None:
                arrived += f", then a close with {self.close_code}"
            raise TimeoutError(f"no {name} within {limit:g} s; arrived: {arrived}") from None

    # -- the app's side --------------------------------------------------------------------

    async def _open(self, timeout: float | None) -> None:
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        self._task.add_done_callback(lambda task: self._changed.set())
        await self._wait(self._answered, "answer to the handshake", timeout)
        if self._status is not None:
            raise Refused(self._body.decode(), status=self._status)
        if not self.frames:
            if self._task.done():
                self._task.result()
            raise Refused(self.close_reason, close_code=self.close_code)
        connected = self._unread.pop(0)["message"]
        self.id, self.session = connected["id"], connected["session"]

    def _answered(self) -> bool:
        return bool(self.frames) or self._task.done() or self.close_code is not None

    @property
    def _idle(self) -> bool:
        if self._task.done():
            return True
        # Idle means that the app's task, or the inbox's, waits for a frame. While a handler runs,
        # another task reads, under another name.
        receiver = self._receiver
        waits = receiver is not None and (receiver is self._task or receiver.get_name() == WAITING)
        return waits and self._inbox.empty()

    async def _receive(self) -> Message:
        self._receiver = asyncio.current_task()
        try:
            return await self._inbox.get()
        finally:
            self._receiver = None

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
        elif kind == "websocket.send":
            self._add(json.loads(message["text"]))
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
        self._changed.set()

    def _add(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._unread.append(frame)
        asked = self._asked.pop(frame.get("id", ""), "")
        for room, offset in read_offsets(frame, asked):
            if offset is None:
                self.offsets.pop(room, None)
            else:
                self.offsets[room] = offset
