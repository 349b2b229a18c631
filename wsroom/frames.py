"""One payload, and the forms in which it leaves, made once for all recipients.

No I/O and no asyncio here.
"""

from __future__ import annotations

import zlib
from functools import cached_property

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
    """A server's frame on its way to any number of sockets."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        """The frame's JSON, UTF-8."""

    @cached_property
    def text(self) -> str:
        """The payload as ASGI's `websocket.send` takes it, decoded once."""
        return self.payload.decode()

    @cached_property
    def plain(self) -> bytes:
        """The WebSocket frame as it goes over the wire to anybody."""
        return _header(_TEXT, len(self.payload)) + self.payload

    @cached_property
    def packed(self) -> bytes:
        """The frame for recipients that inflate a window of 12 bits: deflated if that pays.

        Each is deflated by itself, from an empty window, so one will do for all recipients.
        """
        if len(self.payload) < DEFLATE_FROM:
            return self.plain
        deflater = zlib.compressobj(wbits=-WINDOW_BITS)
        data = deflater.compress(self.payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        data = data[:-4]  # the empty block at its end stays away (RFC 7692, section 7.2.1)
        if len(data) >= len(self.payload):
            return self.plain
        return _header(_TEXT | _DEFLATED, len(data)) + data


class Chunk:
    """Frames that go to the same recipients one after the other, joined once for all of them."""

    def __init__(self, frames: list[PreparedFrame]) -> None:
        self.frames = frames
        """The frames, in their order."""

    @cached_property
    def plain(self) -> bytes:
        """The frames as they go over the wire to anybody."""
        return b"".join([frame.plain for frame in self.frames])

    @cached_property
    def packed(self) -> bytes:
        """The frames for recipients that inflate a window of 12 bits."""
        return b"".join([frame.packed for frame in self.frames])


def _header(first: int, length: int) -> bytes:
    # RFC 6455, section 5.2: the length in 7, 16 or 64 bits; servers do not mask.
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
