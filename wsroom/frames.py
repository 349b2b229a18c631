"""One payload, and the forms in which it leaves, made once for all recipients.

No I/O and no asyncio here.
"""

from __future__ import annotations

import zlib
from typing import Any

from wsroom.adapters.base import Emission

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

    What is not always needed is made when it is first asked for, and is an attribute like any other
    from then on: Python calls `__getattr__` only for a slot that is still empty.
    """

    __slots__ = ("packed", "payload", "plain", "stamp", "text")

    payload: bytes
    """The frame's JSON, UTF-8."""
    plain: bytes
    """The WebSocket frame as it goes over the wire to anybody."""
    packed: bytes
    """The frame for recipients that inflate a window of 12 bits: deflated if that pays.

    Each is deflated by itself, from an empty window, so one will do for all recipients.
    """
    text: str
    """The payload as ASGI's `websocket.send` takes it."""
    stamp: tuple[Emission, str] | None
    """The emission that it came with, and its offset, where there is one."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        size = len(payload)
        if size < 126:
            self.plain = self.packed = _SHORT[size] + payload
        else:
            self.plain = _header(_TEXT, size) + payload
            if size < DEFLATE_FROM:
                self.packed = self.plain

    def __getattr__(self, name: str) -> Any:
        if name == "packed":
            self.packed = _pack(self.payload) or self.plain
            return self.packed
        if name == "text":
            self.text = self.payload.decode()
            return self.text
        if name == "stamp":
            self.stamp = None
            return None
        raise AttributeError(name)


class Chunk:
    """Frames that go to the same recipients one after the other, joined once for all of them."""

    __slots__ = ("frames", "packed", "plain")

    frames: list[PreparedFrame]
    """The frames, in their order."""
    plain: bytes
    """The frames as they go over the wire to anybody."""
    packed: bytes
    """The frames for recipients that inflate a window of 12 bits."""

    def __init__(self, frames: list[PreparedFrame]) -> None:
        self.frames = frames

    def __getattr__(self, name: str) -> Any:
        if name == "plain":
            self.plain = b"".join([frame.plain for frame in self.frames])
            return self.plain
        if name == "packed":
            self.packed = b"".join([frame.packed for frame in self.frames])
            return self.packed
        raise AttributeError(name)


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
