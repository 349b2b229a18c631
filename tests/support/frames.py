"""Wire bytes, read by the parser of others."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from websockets.frames import Frame
from websockets.streams import StreamReader


def parse(data: bytes, *extensions: Any) -> Frame:
    """Read exactly one frame with websockets' own parser."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser: Generator[None, None, Frame] = Frame.parse(
        reader.read_exact, mask=False, extensions=extensions
    )
    try:
        while True:
            next(parser)
    except StopIteration as stop:
        assert not reader.buffer
        frame: Frame = stop.value
        return frame
