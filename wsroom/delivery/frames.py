"""One payload, and the forms in which it leaves, made once for all recipients.

No I/O and no asyncio here.
"""

from __future__ import annotations

import zlib

from wsroom.wire.emission import Emission
from wsroom.wire.offsets import Offset

WINDOW_BITS = 12
"""The deflate window: what uvicorn negotiates with browsers, and 4 kB are enough for a frame."""

DEFLATE_FROM = 1024
"""Bytes from which a payload is deflated where the recipient can inflate.

Below it a frame fits one TCP segment either way. Deflated from an empty window, a chat message of
100 bytes shrinks by 13 for 13 us, which is what it costs to write it to three members.
"""

_TEXT = 0x81  # FIN and the opcode of text (RFC 6455, section 5.2)
_DEFLATED = 0x40  # RSV1: the payload is deflated (RFC 7692, section 7.2.3.1)


class PreparedFrame:
    """A server's frame on its way to any number of sockets.

    What is not always needed is made when it is first asked for, by a method: attributes that
    `__getattr__` makes would slow all others down, and `plain` is read once for each recipient.
    """

    __slots__ = ("_packed", "_text", "payload", "plain", "stamp")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        """The frame's JSON, UTF-8."""
        size = len(payload)
        self.plain = (_SHORT[size] if size < 126 else _header(_TEXT, size)) + payload
        """The WebSocket frame as it goes over the wire to anybody."""
        self._packed = self.plain if size < DEFLATE_FROM else None
        self._text: str | None = None
        self.stamp: tuple[Emission, Offset] | None = None
        """The emission that it came with, and its offset, where there is one."""

    def packed(self) -> bytes:
        """The frame for recipients that inflate a window of 12 bits: deflated if that pays.

        Each is deflated by itself, from an empty window, so one will do for all recipients.
        """
        if self._packed is None:
            self._packed = _pack(self.payload) or self.plain
        return self._packed

    def text(self) -> str:
        """The payload as ASGI's `websocket.send` takes it."""
        if self._text is None:
            self._text = self.payload.decode()
        return self._text


class Chunk:
    """Frames that go to the same recipients one after the other, joined once for all of them."""

    __slots__ = ("_packed", "frames", "plain")

    def __init__(self, frames: list[PreparedFrame]) -> None:
        self.frames = frames
        """The frames, in their order."""
        self.plain = b"".join([frame.plain for frame in frames])
        """The frames as they go over the wire to anybody."""
        self._packed: bytes | None = None

    def packed(self) -> bytes:
        """The frames for recipients that inflate a window of 12 bits."""
        if self._packed is None:
            self._packed = b"".join([frame.packed() for frame in self.frames])
        return self._packed


def _pack(payload: bytes) -> bytes | None:
    """The frame with its payload deflated; None where that does not pay."""
    deflater = zlib.compressobj(wbits=-WINDOW_BITS)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    data = data[:-4]  # the empty block at its end stays away (RFC 7692, section 7.2.1)
    if len(data) >= len(payload):
        return None
    return _header(_TEXT | _DEFLATED, len(data)) + data


def _header(first: int, length: int) -> bytes:
    # RFC 6455, section 5.2: the length in 7, 16 or 64 bits; servers do not mask.
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


_SHORT = [_header(_TEXT, length) for length in range(126)]
