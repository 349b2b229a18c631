"""Cutting bytes into WebSocket frames (RFC 6455, section 5.2). No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable

TEXT = 0x81
"""A whole text message: FIN and the opcode of text."""
DEFLATED = 0xC1
"""The same, deflated: RSV1 is set (RFC 7692, section 7.2.3.1)."""
PONG = 0x8A
"""A whole pong."""
OTHER = 0
"""Bytes of any other frame, or a part of one, as they came: control frames, fragments."""
INVALID = 1
"""All bytes from here on, because the next frame is not masked, as a client's must be."""

_CONTINUATION_TO_BINARY = 3  # opcodes below it are those of data
_LONGEST_CONTROL = 125

Piece = tuple[int, bytes]
"""What it is, and its bytes: the unmasked payload of TEXT and DEFLATED."""

Unmask = Callable[[bytes, bytes], bytes]
"""Removes the mask of a payload; the second argument is its four bytes."""


class Cutter:
    """Cuts what a client sends into pieces, of which only ordinary text messages are looked into.

    The other pieces, in order and together with no others, are what a parser of all frames needs.

    Args:
        longest: the most bytes of an ordinary message; longer ones are OTHER.
        deflate: whether messages may be deflated.
        unmask: removes a mask.

    """

    __slots__ = (
        "_data",
        "_deflate",
        "_fragmented",
        "_left",
        "_longest",
        "_need",
        "_pos",
        "unmask",
    )

    def __init__(self, longest: int, deflate: bool, unmask: Unmask) -> None:
        self.unmask = unmask
        self._longest = longest
        self._deflate = deflate
        self._data: bytes | bytearray = b""
        self._pos = 0
        self._need = 0  # how many bytes from _pos on make it worth another look
        self._left = 0  # bytes of a long frame that have not been returned yet
        self._fragmented = False

    @property
    def clean(self) -> bool:
        """Whether the next byte is the first of a frame, and no message is fragmented."""
        return not (self._data or self._left or self._fragmented)

    def feed(self, data: bytes) -> None:
        """Add bytes; then call `next` until it returns None."""
        if not self._data:
            self._data, self._pos = data, 0
            return
        if isinstance(self._data, bytes):
            self._data, self._pos = bytearray(self._data[self._pos :]), 0
        self._data += data

    def next(self) -> Piece | None:
        """Return the next piece; None if more bytes are needed."""
        size = len(self._data) - self._pos
        if size < self._need or not size:
            return self._wait(self._need)
        if isinstance(self._data, bytearray):
            self._data = bytes(self._data)
        data, pos = self._data, self._pos
        if self._left:
            taken = min(self._left, size)
            self._left -= taken
            return self._piece(OTHER, pos + taken)
        if size < 2:
            return self._wait(2)
        first, second = data[pos], data[pos + 1]
        if second < 128:
            return self._piece(INVALID, pos + size)
        length, head = second & 127, 6
        if length == 126:
            head = 8
            if size < head:
                return self._wait(head)
            length = data[pos + 2] << 8 | data[pos + 3]
        elif length == 127:
            head = 14
            if size < head:
                return self._wait(head)
            length = int.from_bytes(data[pos + 2 : pos + 10], "big")
        whole = size >= head + length
        ordinary = first == TEXT or (first == DEFLATED and self._deflate)
        if not ordinary or self._fragmented or length > self._longest:
            return self._other(first, head + length, whole)
        if not whole:
            return self._wait(head + length)
        start, end = pos + head, pos + head + length
        payload = self.unmask(data[start:end], data[start - 4 : start])
        self._move(end)
        return first, payload

    def _other(self, first: int, length: int, whole: bool) -> Piece | None:
        # A control frame waits until it is whole, so that no piece ends within its header.
        if not whole and length <= _LONGEST_CONTROL + 6:
            return self._wait(length)
        if first & 15 < _CONTINUATION_TO_BINARY:
            self._fragmented = first < 128
        if whole:
            return self._piece(OTHER, self._pos + length)
        self._left = length - (len(self._data) - self._pos)
        return self._piece(OTHER, len(self._data))

    def _piece(self, kind: int, end: int) -> Piece:
        piece = bytes(self._data[self._pos : end])
        self._move(end)
        return kind, piece

    def _move(self, end: int) -> None:
        self._need = 0
        if end == len(self._data):
            self._data, self._pos = b"", 0
        else:
            self._pos = end

    def _wait(self, need: int) -> Piece | None:
        self._need = need
        if not self._pos:
            return None
        # What was read before is dropped; nothing of the rest is cut again.
        self._data, self._pos = self._data[self._pos :], 0
        return None
