"""The forms of a payload on the wire, each made once for all recipients.

No I/O and no asyncio here.
"""

from __future__ import annotations

import zlib

from wsroom.wire.emission import Emission
from wsroom.wire.offsets import Offset

WINDOW_BITS = 12
"""The deflate window that uvicorn negotiates with browsers; its 4 kB are enough for a frame."""

DEFLATE_FROM = 1024
"""Bytes from which a payload is deflated, if the recipient accepts that.

A shorter frame fits one TCP segment either way. Deflated from an empty window, a chat message of
100 bytes shrinks by 13 bytes for 13 us, which is the cost of writing it to three members.
"""

_TEXT = 0x81  # FIN and the opcode of text (RFC 6455, section 5.2)
_RSV1 = 0x40  # RSV1: the payload is deflated (RFC 7692, section 7.2.3.1)


class PreparedFrame:
    """A frame that the server sends to any number of sockets.

    Methods create the rarely needed forms on first use. Attributes that `__getattr__` creates
    would slow down all others, and `plain` is read once for each recipient.
    """

    __slots__ = ("_deflated_bytes", "_text", "payload", "plain", "stamp", "volatile")

    def __init__(self, payload: bytes, volatile: bool = False) -> None:
        self.payload = payload
        """The frame's JSON, UTF-8."""
        size = len(payload)
        self.plain = (_SHORT_HEADERS[size] if size < 126 else _header(_TEXT, size)) + payload
        """The WebSocket frame, not deflated, which every peer accepts."""
        self._deflated_bytes = self.plain if size < DEFLATE_FROM else None
        self._text: str | None = None
        self.stamp: tuple[Emission, Offset] | None = None
        """The emission that the frame was made from, and its offset; None without a history."""
        self.volatile = volatile
        """Whether it passes over sockets that are behind."""

    def deflated(self) -> bytes:
        """Return the frame for peers that accept a deflate window of 12 bits: deflated if shorter.

        Each frame is deflated separately, from an empty window, so the bytes fit all recipients.
        """
        if self._deflated_bytes is None:
            self._deflated_bytes = _deflate(self.payload) or self.plain
        return self._deflated_bytes

    def text(self) -> str:
        """Return the payload for ASGI's `websocket.send`."""
        if self._text is None:
            self._text = self.payload.decode()
        return self._text

    def lasting(self) -> None:
        """Do what `Chunk.lasting` does, for a volatile frame."""
        return None


class Chunk:
    """Consecutive frames to the same recipients, joined once for all of them."""

    __slots__ = ("_deflated_bytes", "_lasting", "frames", "plain", "volatile")

    def __init__(self, frames: list[PreparedFrame]) -> None:
        self.frames = frames
        """The frames, in order."""
        self.plain = b"".join([frame.plain for frame in frames])
        """The frames, not deflated, joined."""
        self.volatile = any([frame.volatile for frame in frames])
        """Whether some of the frames are volatile."""
        self._deflated_bytes: bytes | None = None
        self._lasting: Chunk | None = None

    def deflated(self) -> bytes:
        """Return the frames for peers that accept a deflate window of 12 bits, joined."""
        if self._deflated_bytes is None:
            self._deflated_bytes = b"".join([frame.deflated() for frame in self.frames])
        return self._deflated_bytes

    def lasting(self) -> Chunk | None:
        """Return the frames that are not volatile; None if all of them are."""
        if self._lasting is None:
            frames = [frame for frame in self.frames if not frame.volatile]
            self._lasting = Chunk(frames) if frames else None
        return self._lasting


def _deflate(payload: bytes) -> bytes | None:
    # Returns None if the deflated payload is not shorter.
    deflater = zlib.compressobj(wbits=-WINDOW_BITS)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    data = data[:-4]  # without the empty block at its end (RFC 7692, section 7.2.1)
    if len(data) >= len(payload):
        return None
    return _header(_TEXT | _RSV1, len(data)) + data


def _header(first: int, length: int) -> bytes:
    # RFC 6455, section 5.2: the length in 7, 16 or 64 bits; servers do not mask.
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


_SHORT_HEADERS = [_header(_TEXT, length) for length in range(126)]
