"""Frames on the wire, parsed by the websockets package."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from websockets.frames import Frame
from websockets.streams import StreamReader


def parse(data: bytes, *extensions: Any) -> Frame:
    """Parse exactly one frame."""
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
