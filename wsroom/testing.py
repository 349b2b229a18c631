"""A client for tests: in process, no server and no port, a timeout on every wait."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import quote, urlencode

from wsroom.asgi import ASGIApp
from wsroom.dispatch import HANDLING
from wsroom.lifespan import forward
from wsroom.loopback import Frame, Loopback
from wsroom.writers import WRITING

QUIET_PASSES = 20  # of the event loop, without any work: all is settled


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


class TestClient:
    """Runs an ASGI app, its lifespan included, and opens connections to it.

    Entering raises SetupError where the app's start failed.

    Args:
        app: a WSRoom, or an app that one is mounted in.
        timeout: seconds for each wait that names none.

    """

    __test__ = False  # pytest takes classes called Test... for tests

    def __init__(self, app: ASGIApp, *, timeout: float = 1.0) -> None:
        self.app = app
        self.timeout = timeout
        self.connections: list[TestConnection] = []
        self._state: dict[str, Any] = {}
        self._lifespan = forward(app, self._state)

    async def __aenter__(self) -> Self:
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        problems: list[Exception] = []
        for connection in self.connections:
            try:
                await connection.close()
            except Exception as problem:
                problems.append(problem)
                await connection._cancel()
        await self._lifespan.__aexit__(None, None, None)
        if problems and exc is None:  # else the body's own failure is the one to show
            raise problems[0]

    async def connect(
        self,
        path: str = "/ws",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TestConnection:
        """Open a connection and wait for its `connected`.

        Raises:
            Refused: the app refused the handshake; `status` says how.
            TimeoutError: neither came in time.

        """
        if "?" in path:
            raise ValueError(f"path {path!r} has a query; give it as query={{...}}")
        named = {"host": "testserver"} | {k.lower(): v for k, v in (headers or {}).items()}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        if cookies:
            jar: SimpleCookie = SimpleCookie(dict(cookies))
            raw.append((b"cookie", jar.output([], "", "; ").strip().encode()))
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": ("testserver", 80),
            "client": ("testclient", 50000 + len(self.connections)),
            "root_path": "",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": urlencode(query or {}).encode(),
            "headers": raw,
            "subprotocols": list(subprotocols),
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        connection = TestConnection(self, scope)
        self.connections.append(connection)
        await connection._open(timeout)
        return connection

    async def settle(self, *, timeout: float | None = None) -> None:
        """Wait until the app has nothing more to do: every frame sent so far has been handled and
        all that came of it has arrived.

        Raises:
            TimeoutError: a handler was still at work.

        """
        quiet = 0
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                while quiet < QUIET_PASSES:
                    await asyncio.sleep(0)
                    quiet = 0 if self._busy() else quiet + 1
        except TimeoutError:
            raise TimeoutError(f"still at work: {self._busy()}") from None

    def _busy(self) -> list[Any]:
        tasks = [task for task in asyncio.all_tasks() if task.get_name() in (HANDLING, WRITING)]
        return [*(connection for connection in self.connections if not connection._idle), *tasks]


class TestConnection(Loopback):
    """One client's connection."""

    __test__ = False

    def __init__(self, client: TestClient, scope: dict[str, Any]) -> None:
        super().__init__(client.app, scope)
        self.id = ""
        """The socket's id, from `connected`."""
        self.session = ""
        """The session's secret, from `connected`, or from the connection that it resumed."""
        self.frames: list[Frame] = []
        """Every frame that has arrived so far, `connected` first."""
        self.offsets: dict[str, str] = {}
        """Where each room stands for this client, from all that has arrived; "" is the path."""
        self._client = client
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
            limit = self._client.timeout if timeout is None else timeout
            await asyncio.wait([self._task], timeout=limit)
            if not self._task.done():
                raise TimeoutError(f"the app was not done with {self!r} {limit:g} s after its end")
        self._task.result()

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=self._client.timeout)

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
        limit = self._client.timeout if timeout is None else timeout
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
        for room, offset in told_offsets(frame, asked):
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


def told_offsets(frame: Frame, asked: str = "") -> Iterator[tuple[str, str | None]]:
    """The rooms of which a frame tells where they stand; None where the client is in it no more.

    `asked` is the event of the client's frame that this one answers.
    """
    event, message, room = frame["event"], frame["message"], frame["room"] or ""
    if "offset" in frame:
        yield room, frame["offset"]
    elif event == "connected" or (event == "reply" and asked == "resume"):
        for name, told in message.get("rooms", {}).items():
            offset = told if event == "connected" else told.get("offset")
            if offset is not None:
                yield name, offset
    elif event == "resync" and message["offset"] is not None:
        yield room, message["offset"]
    elif event == "reply" and asked == "joinRoom" and "offset" in message:
        yield message["room"], message["offset"]
    elif event == "reply" and asked == "leaveRoom":
        yield message["room"], None
