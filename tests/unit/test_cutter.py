"""Cutting bytes into frames: the same pieces, however the bytes arrive."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import apply_mask

from tests.support.streams import encode
from wsroom.direct.frames import DEFLATED, INVALID, OTHER, TEXT, Cutter, Piece

LONGEST = 300


def cutter(deflate: bool = True) -> Cutter:
    return Cutter(LONGEST, deflate, apply_mask)


def feed(cutting: Cutter, *parts: bytes) -> list[Piece]:
    """Feed parts one after the other; return all pieces, those of one frame joined."""
    pieces: list[Piece] = []
    for part in parts:
        cutting.feed(part)
        while (piece := cutting.next()) is not None:
            if piece[0] == OTHER == (pieces[-1][0] if pieces else None):
                pieces[-1] = OTHER, pieces[-1][1] + piece[1]
            else:
                pieces.append(piece)
    return pieces


frames = st.tuples(
    st.sampled_from([0x81, 0xC1, 0x01, 0x41, 0x80, 0x00, 0x82, 0x89, 0x8A, 0x88]),
    st.sampled_from([0, 1, 5, 125, 126, 127, 299, 300, 301, 500]),
    st.binary(min_size=4, max_size=4),
)


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 40), max_size=200), st.booleans())
def test_the_pieces_are_the_same_however_it_is_cut(
    given: list[tuple[int, int, bytes]], sizes: list[int], deflate: bool
) -> None:
    """And together they are all that was sent."""
    sent = [encode(first, (bytes(range(256)) * 2)[:size], mask) for first, size, mask in given]
    data = b"".join(sent)
    parts, rest = [], data
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    whole, cut = cutter(deflate), cutter(deflate)
    pieces = feed(whole, data)
    assert feed(cut, *filter(None, [*parts, rest])) == pieces
    assert whole.clean == cut.clean
    fragmented = False
    expected: list[Piece] = []
    for (first, size, _), raw in zip(given, sent, strict=True):
        ordinary = first == TEXT or (first == DEFLATED and deflate)
        if ordinary and size <= LONGEST and not fragmented:
            expected.append((first, (bytes(range(256)) * 2)[:size]))
            continue
        if first & 15 < 3:
            fragmented = first < 128
        if expected and expected[-1][0] == OTHER:
            expected[-1] = OTHER, expected[-1][1] + raw
        else:
            expected.append((OTHER, raw))
    assert pieces == expected
    assert whole.clean == (not fragmented)


def test_one_byte_at_a_time() -> None:
    """Every cut of a frame, with each form of its length."""
    for size in (0, 1, 125, 126, 300):
        frame = encode(TEXT, b"x" * size)
        cutting = cutter()
        for byte in frame[:-1]:
            assert feed(cutting, bytes([byte])) == []
            assert not cutting.clean
        assert feed(cutting, frame[-1:]) == [(TEXT, b"x" * size)]
        assert cutting.clean


def test_single_bytes_take_work_in_proportion_to_their_number() -> None:
    """16 times as many bytes of one frame, or of one read, take not 256 times as long."""

    def one_by_one(size: int) -> None:
        cutting = Cutter(10**9, True, apply_mask)
        frame = encode(TEXT, bytes(size))
        for start in range(len(frame)):
            cutting.feed(frame[start : start + 1])
            cutting.next()
        assert cutting.clean

    def many_frames(size: int) -> None:
        cutting = cutter()
        cutting.feed(encode(TEXT, b"x") * (size // 7) + b"\x81")
        while cutting.next():
            pass
        assert not cutting.clean

    for work in (one_by_one, many_frames):
        assert seconds(work, 480_000) < 40 * seconds(work, 30_000)


def seconds(work: Callable[[int], None], size: int) -> float:
    """Return the lesser CPU time of two."""
    times = []
    for _ in range(2):
        began = process_time()
        work(size)
        times.append(process_time() - began)
    return min(times)


def test_a_frame_without_a_mask_is_invalid_from_its_second_byte() -> None:
    """And so is all that follows."""
    cutting = cutter()
    assert feed(cutting, encode(TEXT, b"a") + b"\x81") == [(TEXT, b"a")]
    assert feed(cutting, b"\x01b" + encode(TEXT, b"c")) == [
        (INVALID, b"\x81\x01b" + encode(TEXT, b"c"))
    ]


def test_a_long_frame_is_not_kept() -> None:
    """Its bytes are returned as they come, without another look at them."""
    frame = encode(0x82, b"x" * 100_000)
    cutting = cutter()
    kinds = []
    for start in range(0, len(frame), 1000):
        cutting.feed(frame[start : start + 1000])
        while (piece := cutting.next()) is not None:
            kinds.append(piece)
    assert b"".join(data for _, data in kinds) == frame
    assert len(kinds) == 101
