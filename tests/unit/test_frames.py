"""Wire bytes, read by the parsers of other libraries."""

from __future__ import annotations

import json
import os

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from tests.support.frames import parse
from wsroom.delivery.frames import DEFLATE_FROM, PreparedFrame

LENGTHS = [0, 1, 125, 126, 127, 1023, 1024, 65535, 65536, 2**20]


def client_extension(bits: int = 12) -> PerMessageDeflate:
    """The client's side of what uvicorn negotiates."""
    return PerMessageDeflate(
        remote_no_context_takeover=False,
        local_no_context_takeover=False,
        remote_max_window_bits=bits,
        local_max_window_bits=bits,
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_a_plain_frame_is_exact(length: int) -> None:
    """One final text frame, unmasked, in each class of lengths."""
    payload = os.urandom(length).hex()[:length].encode()
    assert parse(PreparedFrame(payload).plain) == Frame(Opcode.TEXT, payload)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("bits", [12, 13, 15])
def test_a_deflated_frame_inflates_to_the_same(length: int, bits: int) -> None:
    """The client has inflated other frames before, with a window of 12 bits or more."""
    extension = client_extension(bits)
    for number in range(3):
        payload = json.dumps({"n": number, "text": "hello again " * (length // 12 + 1)})
        data = payload[:length].encode()
        frame = parse(PreparedFrame(data).deflated(), extension)
        assert frame.data == data and frame.opcode is Opcode.TEXT and frame.fin


def test_small_and_incompressible_frames_are_not_deflated() -> None:
    """They would cost time and gain nothing."""
    small = PreparedFrame(b"x" * (DEFLATE_FROM - 1))
    assert small.deflated() is small.plain
    random = PreparedFrame(os.urandom(4096))
    assert random.deflated() is random.plain
    large = PreparedFrame(b"x" * DEFLATE_FROM)
    assert len(large.deflated()) < 50 and large.deflated()[0] == 0xC1


def test_every_form_is_made_once() -> None:
    """All recipients share the same bytes."""
    frame = PreparedFrame("é".encode() * 2000)
    assert frame.plain is frame.plain and frame.deflated() is frame.deflated()
    assert frame.text() is frame.text() and frame.text() == "é" * 2000
