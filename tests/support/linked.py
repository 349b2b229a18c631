"""TestClient through uvicorn: its protocol object, on a transport in memory, and a link."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, ClassVar

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

import wsroom.testing
from tests.support.streams import encode
from wsroom.asgi.types import ASGIApp, Message, Receive, Scope, Send
from wsroom.direct.link import Link
from wsroom.tasks import HANDLING


class TestClient(wsroom.testing.TestClient):
    """A TestClient whose connections are read by a link, if `linked` is set."""

    linked: ClassVar[bool] = False

    def __init__(self, app: ASGIApp, *, timeout: float = 1.0) -> None:
        super().__init__(through_uvicorn(app) if self.linked else app, timeout=timeout)


def through_uvicorn(app: ASGIApp) -> ASGIApp:
    """Return an app whose WebSockets reach `app` as bytes, like those of a network."""
    config = uvicorn.Config(app, log_config=None, ws_ping_interval=None)
    config.load()

    async def bytewise(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await Bridge(config, scope, send).run(receive)
        else:
            await app(scope, receive, send)

    return bytewise


class MemoryTransport(asyncio.Transport):
    """The server's end of a connection; the other end is a function, which never waits."""

    def __init__(self, arrived: Callable[[bytes], None], names: dict[str, Any]) -> None:
        super().__init__(names)
        self.lost = False
        self._arrived = arrived
        self._protocol: Any = None
        self._closing = False
        self._paused = False
        self._unread: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Receive bytes, as soon as the protocol reads."""
        self._unread.append(data)
        self._read()

    def _read(self) -> None:
        while self._unread and not (self._paused or self._closing):
            self._protocol.data_received(self._unread.pop(0))

    def write(self, data: Any) -> None:
        if not self._closing:
            self._arrived(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        asyncio.get_running_loop().call_soon(self._read)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def _lose(self) -> None:
        self.lost = True
        self._protocol.connection_lost(None)


class Bridge:
    """Makes bytes of what a TestConnection sends, and ASGI's messages of what it receives."""

    def __init__(self, config: uvicorn.Config, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._head = b""  # of the answer to the handshake
        self._frames = Protocol(CLIENT, state=OPEN, max_size=None)
        self._accepted = False
        self._closed = False  # a close frame was sent to the server
        self._state = ServerState()
        names = {"peername": scope["client"], "sockname": scope["server"]}
        self._transport = MemoryTransport(self._arrived, names)
        protocol: Any = config.ws_protocol_class
        self._server = protocol(config, self._state, scope["state"])
        self._transport.set_protocol(self._server)
        self._server.connection_made(self._transport)

    async def run(self, receive: Receive) -> None:
        """Run the connection until the app has ended it."""
        try:
            await receive()  # websocket.connect
            self._feed(self._request())
            while (message := await receive())["type"] != "websocket.disconnect":
                text: str | None = message.get("text")
                if text is None:
                    self._feed(encode(0x82, message["bytes"]))
                else:
                    self._feed(encode(0x81, text.encode()))
            await self._end(message["code"])
        except asyncio.CancelledError:
            for task in self._state.tasks:
                task.cancel()
            await self._ended()
            raise

    async def _end(self, code: int) -> None:
        self._closed = True
        if self._accepted and code not in (1005, 1006):
            self._transport.feed(encode(0x88, code.to_bytes(2, "big")))
        else:
            self._transport.close()
        await self._ended()

    async def _ended(self) -> None:
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        self._transport.close()

    def _request(self) -> bytes:
        target = self._scope["raw_path"]
        if self._scope["query_string"]:
            target += b"?" + self._scope["query_string"]
        lines = [b"GET %s HTTP/1.1" % target]
        lines += [b"%s: %s" % header for header in self._scope["headers"]]
        lines += [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
        lines += [b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16))]
        if self._scope["subprotocols"]:
            lines += [b"Sec-WebSocket-Protocol: " + ", ".join(self._scope["subprotocols"]).encode()]
        return b"\r\n".join([*lines, b"", b""])

    def _feed(self, data: bytes) -> None:
        self._transport.feed(data)
        # `settle` waits for tasks of this name: the app is busy until its link waits again.
        asyncio.get_running_loop().create_task(self._work(), name=HANDLING)

    async def _work(self) -> None:
        while not self._idle:  # noqa: ASYNC110 (a link has no event for it)
            await asyncio.sleep(0)

    @property
    def _idle(self) -> bool:
        if self._transport.lost or not self._state.tasks:
            return True
        link = self._transport.get_protocol()
        return isinstance(link, Link) and link._waiter is not None and link.idle

    # -- what the server sends -------------------------------------------------------------

    def _arrived(self, data: bytes) -> None:
        if not self._accepted:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            status = int(head.split(b" ", 2)[1])
            if status != 101:
                self._refuse(status, data)
                return
            self._accepted = True
            lines = [line.partition(b": ") for line in head.lower().split(b"\r\n")]
            named = {name: value for name, _, value in lines}
            subprotocol = named.get(b"sec-websocket-protocol", b"").decode() or None
            self._tell({"type": "websocket.accept", "subprotocol": subprotocol})
        self._frames.receive_data(data)
        for frame in self._frames.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.TEXT:
                text = bytes(frame.data).decode()
                self._tell({"type": "websocket.send", "text": text})
            elif frame.opcode is Opcode.CLOSE and not self._closed:
                close = self._frames.close_rcvd
                assert close is not None
                self._tell({"type": "websocket.close", "code": close.code, "reason": close.reason})
        assert self._frames.parser_exc is None, self._frames.parser_exc

    def _refuse(self, status: int, body: bytes) -> None:
        self._tell({"type": "websocket.http.response.start", "status": status})
        self._tell({"type": "websocket.http.response.body", "body": body})

    def _tell(self, message: Message) -> None:
        # A TestConnection takes it without waiting.
        try:
            self._send(message).send(None)  # type: ignore[attr-defined]
        except StopIteration:
            return
        raise AssertionError("the TestConnection waits")
