"""A peer that sends arbitrary bytes, and random streams of valid and invalid frames for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from tests.support.clock import SECOND


@dataclass
class Heard:
    """What a peer received."""

    texts: list[str] = field(default_factory=list)
    """`event message id` of each frame with an id."""
    pongs: list[bytes] = field(default_factory=list)
    code: int | None = None
    """The close code; None if the connection ended without one."""


Deflate = ClientPerMessageDeflateFactory
"""An offer of permessage-deflate (RFC 7692)."""

Answer = tuple[str, Any, Any]
"""A frame with an id, or an error: its event, its message (the code of an error), its id."""


class RawPeer:
    """A connection whose frames from the server are parsed, and whose bytes are the test's."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ClientProtocol
    ) -> None:
        self.writer = writer
        self.heard = Heard()
        self.answers: list[Answer] = []
        self.deflate: Any = next(iter(protocol.extensions), None)
        self._reader = reader
        self._protocol = protocol
        self._arrived = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda task: self._arrived.set())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._take() and (data := await self._reader.read(65536)):
                self._protocol.receive_data(data)

    def _take(self) -> bool:
        for frame in self._protocol.events_received():
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.PONG:
                self.heard.pongs.append(bytes(frame.data))
            elif frame.opcode is Opcode.CLOSE:
                assert self._protocol.close_rcvd is not None
                self.heard.code = self._protocol.close_rcvd.code
                self._arrived.set()
            elif frame.opcode is Opcode.TEXT:
                message = json.loads(bytes(frame.data))
                if "id" in message or message["event"] == "error":
                    words = message["event"], message["message"], message.get("id")
                    self.heard.texts.append(" ".join(map(str, words)))
                    content = words[1]["code"] if words[0] == "error" else words[1]
                    self.answers.append((words[0], content, words[2]))
                    self._arrived.set()
        assert self._protocol.parser_exc is None, self._protocol.parser_exc
        return True

    async def send(self, pieces: list[bytes]) -> None:
        """Send the pieces, as long as the server reads."""
        for piece in pieces:
            if self._reading.done() or self.writer.is_closing():
                return
            self.writer.write(piece)
            await asyncio.sleep(0)  # the server's part of this loop notices it,
            await asyncio.sleep(0)  # and reads it by itself
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop raises RuntimeErrors
            await self.writer.drain()

    async def wait_for(self, text: str) -> None:
        """Wait for a text, or the end."""
        await self._until(lambda: text in self.heard.texts)

    async def wait_for_id(self, id: object) -> None:
        """Wait for the answer to a frame with this id, or the end."""
        await self._until(lambda: any(answer[2] == id for answer in self.answers))

    async def wait_for_close(self) -> None:
        """Wait for a close frame, or the end."""
        await self._until(lambda: self.heard.code is not None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20 * SECOND):
            while not condition() and not self._reading.done():
                self._arrived.clear()
                await self._arrived.wait()

    async def end(self) -> Heard:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(20 * SECOND):
            await self._reading
        self.writer.close()
        return self.heard


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""A client's request (RFC 6455, section 1.3)."""


def offering(deflate: str | Deflate) -> list[Deflate] | None:
    """Return what a client offers: these parameters, or those of "context" or "fresh"."""
    if isinstance(deflate, str):
        return [Deflate(client_no_context_takeover=deflate == "fresh")] if deflate else None
    return [deflate]


async def raw_peer_early(
    url: str, early: bytes, connecting: asyncio.Event, answer: asyncio.Event, deflate: str = ""
) -> RawPeer:
    """Connect; send bytes while `on_connect` runs, which sets one event and waits for the other."""
    uri = parse_uri(url)
    protocol = ClientProtocol(uri, extensions=offering(deflate))
    reader, writer = await asyncio.open_connection(uri.host, uri.port)
    protocol.send_request(protocol.connect())
    writer.write(b"".join(protocol.data_to_send()))
    await connecting.wait()
    writer.write(early)
    await writer.drain()
    for _ in range(10):  # the server's part of this loop reads it
        await asyncio.sleep(0)
    answer.set()
    protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
    assert protocol.handshake_exc is None, protocol.handshake_exc
    return RawPeer(reader, writer, protocol)


@contextlib.asynccontextmanager
async def raw_peer(
    url: str, deflate: str | Deflate = "", context: ssl.SSLContext | None = None
) -> AsyncIterator[RawPeer]:
    """Connect; offer permessage-deflate with these parameters, or if it is "context" or "fresh"."""
    uri = parse_uri(url)
    protocol = ClientProtocol(uri, extensions=offering(deflate))
    reader, writer = await asyncio.open_connection(uri.host, uri.port, ssl=context)
    protocol.send_request(protocol.connect())
    writer.write(b"".join(protocol.data_to_send()))
    while True:
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        responses = [e for e in protocol.events_received() if isinstance(e, Response)]
        if responses:
            break
    assert protocol.handshake_exc is None, protocol.handshake_exc
    peer = RawPeer(reader, writer, protocol)
    try:
        yield peer
    finally:
        writer.close()
        peer._reading.cancel()
        await asyncio.wait([peer._reading])


def encode(
    first: int, payload: bytes, mask: bytes | None = b"\x01\x02\x03\x04", length: int = -1
) -> bytes:
    """Encode a client's frame with this first byte; a mask of None is left out."""
    size = len(payload) if length < 0 else length
    bit = 0 if mask is None else 128
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    repeated = mask * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + mask + masked.to_bytes(len(payload), "big")


class Stream:
    """Makes the bytes of a random client, one message after the other.

    Args:
        seed: the same seed makes the same bytes.
        deflate: "context" or "fresh" if messages may be deflated, else "".
        limit: the server's limit for a frame.

    """

    def __init__(self, seed: int, deflate: str, limit: int) -> None:
        self.random = random.Random(seed)
        self._deflate = deflate
        self._limit = limit
        self._compressor = zlib.compressobj(wbits=-12)
        self._id = 0
        self.last = ""
        """The text that answers the last valid request."""

    def _compressed(self, data: bytes) -> bytes:
        if self._deflate == "fresh":
            self._compressor = zlib.compressobj(wbits=-12)
        compressed = self._compressor.compress(data)
        return (compressed + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def _request(self) -> bytes:
        self._id += 1
        size = self.random.choice([0, 1, 5, 20, 60, 100, 200, 2000, 16_000, self._limit - 100])
        letters = self.random.choice(["a", "é", "\U0001f600", '"'])
        text = letters * (size // len(json.dumps(letters, ensure_ascii=False).encode()))
        self.last = f"reply {len(text)} {self._id}"
        frame = {"event": "size", "message": text, "id": self._id}
        return json.dumps(frame, ensure_ascii=False).encode()

    def _frames(self, payload: bytes, opcode: int = 1) -> bytes:
        """Encode a message: plain or deflated, in one frame or in fragments with pings between."""
        pick = self.random.random
        rsv = 0
        if self._deflate and pick() < 0.5:
            payload, rsv = self._compressed(payload), 0x40
        if pick() < 0.8:
            return encode(0x80 | rsv | opcode, payload, self._mask())
        cuts = sorted(self.random.randrange(len(payload) + 1) for _ in range(2))
        parts = [payload[: cuts[0]], payload[cuts[0] : cuts[1]], payload[cuts[1] :]]
        stream = encode(rsv | opcode, parts[0], self._mask())
        for index, part in enumerate(parts[1:]):
            if pick() < 0.3:
                stream += self.ping()
            stream += encode(0x80 if index else 0, part, self._mask())
        return stream

    def _mask(self) -> bytes:
        return self.random.randbytes(4) if self.random.random() < 0.9 else bytes(4)

    def ping(self) -> bytes:
        return encode(0x89, self.random.randbytes(self.random.choice([0, 4, 125])), self._mask())

    def message(self) -> bytes:
        """Return a message that leaves the connection open."""
        kind = self.random.random()
        if kind < 0.75:
            return self._frames(self._request())
        if kind < 0.85:
            return self.ping()
        if kind < 0.88:
            return encode(0x8A, b"unasked", self._mask())
        if kind < 0.91:
            return self._frames(b'{"event":"none"}')
        if kind < 0.94:
            return self._frames(self._request()[:-1] + b',"more":"' + b"x" * self._limit + b'"}')
        if kind < 0.97:
            return self._frames(b"binary", 2)
        return self._frames(b"not json")

    def request(self) -> bytes:
        """Return a request, whose answer is `last`: with it everything before is answered."""
        return encode(0x81, self._request(), self._mask())

    def ending(self) -> bytes:
        """Return what ends the connection: a close frame, or what no client may send."""
        return (
            self.random.choice(
                [
                    encode(0x88, b"", self._mask()),
                    encode(0x88, b"\x03\xe8bye", self._mask()),
                    encode(0x88, b"\x0f\xa0", self._mask()),
                    encode(0x88, b"\x03", self._mask()),  # 1002: half a code
                    encode(0x88, b"\x03\xed", self._mask()),  # 1002: 1005 is never sent
                    encode(0x88, b"\x03\xe8\xff", self._mask()),  # 1007
                    encode(0x81, b'{"event":"size"}', None),  # 1002: not masked
                    encode(0x81, b"\xff\xfe", self._mask()),  # 1007
                    encode(0x81, b'"\xed\xa0\x80"', self._mask()),  # 1007: a surrogate
                    encode(0x01, b"{", self._mask()) + encode(0x81, b"{}", self._mask()),  # 1002
                    encode(0x80, b"{}", self._mask()),  # 1002: nothing to continue
                    encode(0x91, b"{}", self._mask()),  # 1002: RSV3
                    encode(0x83, b"{}", self._mask()),  # 1002: an unknown opcode
                    encode(0x09, b"", self._mask()),  # 1002: a ping in fragments
                    encode(0x89, b"x" * 126, self._mask()),  # 1002: a long ping
                    encode(0xC1, b"\xff\xff\xff", self._mask()),  # 1002: not deflated
                    encode(0x81, b"", self._mask(), 2**62),  # 1009
                ]
            )
            + self.request()
        )

    def cut(self, data: bytes) -> list[bytes]:
        """Cut bytes at random: into single ones, small pieces, or not at all."""
        size = self.random.choice([1, 7, 130, 5000, len(data) or 1])
        if len(data) / size > 3000:
            size = len(data) // 3000
        cuts = []
        while data:
            taken = self.random.randint(1, size)
            cuts.append(data[:taken])
            data = data[taken:]
        return cuts
