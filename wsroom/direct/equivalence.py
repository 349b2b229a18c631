"""Whether a link and the server's own way make the same of the same bytes; asked once at the start.

With a release of uvicorn or websockets that behaves differently, frames take the ordinary way.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from wsroom.asgi.types import Message, Receive, Scope, Send
from wsroom.direct import server as uvicorn
from wsroom.direct.link import Link
from wsroom.stats import Counters

_SECONDS = 10.0  # it takes some milliseconds; this ends one that hangs
_FRAME_SIZE = 64 * 1024
_MASK = b"\x01\x02\x03\x04"
_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: self.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


class Outcome(NamedTuple):
    """What came of the bytes."""

    frames: tuple[str | bytes, ...]
    """The messages that the app got."""
    code: int
    """The close code that it got."""
    written: bytes
    """What was sent to the client."""


async def difference(server: Any) -> str | None:
    """Return why a link may not be used on connections like that of `server`; None if it may."""
    try:
        async with asyncio.timeout(_SECONDS):
            ordinary = await _play(server, _read_by_server)
            linked = await _play(server, _read_by_link)
    except Exception as exc:
        return f"the self-test failed: {exc!r}"
    for name in Outcome._fields:
        if getattr(ordinary, name) != getattr(linked, name):
            return f"the self-test has found a difference: {name}"
    return None


class _Transport(asyncio.Transport):
    # A transport without a connection: what is written is kept, what comes is fed by the test.

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.closing = False
        self.reading = asyncio.Event()
        self.reading.set()

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


Read = Callable[[Any, Receive, Send], Coroutine[Any, Any, tuple[list[str | bytes], int]]]


async def _play(server: Any, read: Read) -> Outcome:
    loop = asyncio.get_running_loop()
    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[])
    protocol = type(server)(server.config, state, {}, loop)
    # Not a connection that anybody should read about.
    protocol.logger = protocol.conn.logger = logging.Logger(__name__, logging.CRITICAL + 1)
    transport = _Transport(protocol)
    accepted = asyncio.Event()
    result: asyncio.Future[tuple[list[str | bytes], int]] = loop.create_future()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def accept(message: Message) -> None:
            await send(message)
            accepted.set()

        try:
            await receive()
            result.set_result(await read(protocol, receive, accept))
        except Exception as exc:
            result.set_exception(exc)
        finally:
            accepted.set()

    protocol.app = app
    protocol.connection_made(transport)
    try:
        protocol.data_received(_REQUEST)
        await accepted.wait()
        for piece in _pieces(bool(protocol.conn.extensions)):
            await transport.reading.wait()
            transport.protocol.data_received(piece)
        frames, code = await result
    finally:
        transport.protocol.connection_lost(None)
    await asyncio.gather(*state.tasks)
    return Outcome(tuple(frames), code, b"".join(transport.written))


async def _read_by_server(
    protocol: Any, receive: Receive, send: Send
) -> tuple[list[str | bytes], int]:
    await send({"type": "websocket.accept"})
    frames: list[str | bytes] = []
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        frames.append(message["bytes"] if text is None else text)
    return frames, message["code"]


async def _read_by_link(
    protocol: Any, receive: Receive, send: Send
) -> tuple[list[str | bytes], int]:
    reason = uvicorn.misfit(protocol)
    if reason is not None:
        raise RuntimeError(reason)
    link = Link(
        protocol, _FRAME_SIZE, lambda: False, None, deflate_context=True, counters=Counters()
    )
    await send({"type": "websocket.accept"})
    link.accepted()
    frames: list[str | bytes] = []
    while isinstance(frame := await link.wait(), (str, bytes)):
        frames.append(frame)
    return frames, link.close_code


def _pieces(deflate: bool) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=-12)
    for number in range(3):
        text = f"{number} \N{SNOWMAN} ".encode() * 20
        frames = [
            _frame(0x81, b"short"),
            _frame(0x81, text),
            _frame(0x89, b"ping %d" % number),
            _frame(0x01, text[:7]),
            _frame(0x89, b""),
            _frame(0x80, text[7:]),
            _frame(0x82, bytes(range(256))),
            _frame(0x8A, b"unasked"),
        ]
        if deflate:
            for _ in range(2):  # the second one needs the context of the first
                packed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
                frames.append(_frame(0xC1, packed[:-4]))
            packed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
            frames += [_frame(0x41, packed[:9]), _frame(0x80, packed[9:-4])]
        stream = b"".join(frames)
        if number == 0:
            yield from frames
        elif number == 1:
            yield from (stream[at : at + 1] for at in range(len(stream)))
        else:
            yield stream[:500]
            yield stream[500:] + _frame(0x81, b"x" * (_FRAME_SIZE + 1)) + _frame(0x81, b"last")
    yield _frame(0x88, b"\x0f\xa0bye")


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, 128 | size))
    elif size < 65536:
        head = bytes((first, 128 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 128 | 127)) + size.to_bytes(8, "big")
    mask = (_MASK * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + _MASK + masked.to_bytes(size, "big")
