"""The protocol of WebSocket, case by case as in Autobahn's test suite: RFC 6455 and RFC 7692.

Each case is sent to a real server both ways: to a link, and to uvicorn's own parser. What it must
answer is written beside it. Text frames contain JSON, because an app gets nothing else.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from tests.support.loops import serving
from tests.support.peers import WAIT
from tests.support.servers import Server
from tests.support.streams import Answer, Deflate, encode, raw_peer
from wsroom import Emitter, Socket, WSRoom
from wsroom.connection.inbox import Inbox
from wsroom.direct.link import Link

FRAME_SIZE = 64 * 1024
"""`Limits.frame_size`, which is the default."""
MAX_SIZE = 200_000
"""uvicorn's `ws_max_size`."""

TEXT, BINARY, CONTINUATION = 0x81, 0x82, 0x80
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
FIN = 0x80


class Case(NamedTuple):
    """What a client sends, and what it must get."""

    id: str
    send: bytes | tuple[bytes, ...] = b""
    """Whole messages, in one write or in several. A last request, `LAST`, is sent after them."""
    answers: tuple[Answer, ...] = ()
    pongs: tuple[bytes, ...] = ()
    end: bytes | tuple[bytes, ...] = b""
    """What is sent after the answer to the last request; if empty, a close frame."""
    code: int = 1000
    """The close code of the server, and of `on_disconnect`."""
    after: bytes = b""
    """What is sent after the server's close frame."""
    piece: int = 0
    """The bytes of each write; 0: everything at once."""
    deflate: str | Deflate = ""


def ask(message: object, id: object = 1) -> bytes:
    """Return the payload of a request that is answered with its message."""
    frame = {"event": "echo", "message": message, "id": id}
    return json.dumps(frame, ensure_ascii=False).encode()


LAST: Answer = ("reply", "last", "last")
BYE = encode(CLOSE, b"\x03\xe8")


def text(message: object, id: object = 1) -> bytes:
    return encode(TEXT, ask(message, id))


def reply(message: object, id: object = 1) -> Answer:
    return "reply", message, id


def error(code: str, id: object = None) -> Answer:
    return "error", code, id


def letters(size: int) -> str:
    """Return the message with which a request has so many bytes."""
    return "*" * (size - len(ask("")))


def fragments(payload: bytes, *sizes: int, first: int = 0x01, between: bytes = b"") -> bytes:
    """Encode a message in fragments of these sizes and a last one; other frames go between."""
    stream = b""
    for size in sizes:
        stream += encode(first, payload[:size]) + between
        payload, first = payload[size:], 0x00
    return stream + encode(first | FIN, payload)


def with_length(first: int, payload: bytes, length: bytes) -> bytes:
    """Encode a frame whose length has a longer form than it needs."""
    form = 126 if len(length) == 2 else 127
    return bytes([first, 128 | form]) + length + bytes(4) + payload


# -- 1: framing -----------------------------------------------------------------------------------

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536)


def framing() -> Iterator[Case]:
    for size in SIZES:
        for piece in (0, 997) if size > 1000 else (0, 1):
            how = f"{size}-bytes-in-{piece or 'one'}"
            if size > 1:
                message = letters(size)
                yield Case(f"text-{how}", text(message), (reply(message),), piece=piece)
            else:
                bad = encode(TEXT, b"*" * size)
                yield Case(f"text-{how}", bad, (error("bad_frame"),), piece=piece)
            if size != 127 and not (piece and size == 128):
                # No event takes binary frames, but their id is found.
                payload, id = (ask(letters(size)), 1) if size > 1 else (b"\xfe" * size, None)
                frame = encode(BINARY, payload)
                yield Case(f"binary-{how}", frame, (error("bad_frame", id),), piece=piece)
    for size in (0, 1):
        yield Case(f"message-of-{size}", text("*" * size), (reply("*" * size),))
    over = text(letters(FRAME_SIZE + 1))
    yield Case("text-over-the-limit", over, (error("too_large", 1),))
    yield Case("text-over-the-limit-cut", over, (error("too_large", 1),), piece=997)
    payload = ask("short")
    length = len(payload)
    for bits in (16, 64):
        frame = with_length(TEXT, payload, length.to_bytes(bits // 8, "big"))
        yield Case(f"length-in-{bits}-bits", frame, (reply("short"),))
    for mask in (bytes(4), b"\xff\xff\xff\xff"):
        yield Case(f"mask-{mask.hex()}", encode(TEXT, payload, mask), (reply("short"),))
    many = b"".join(text(number, number) for number in range(100))
    answers = tuple(reply(number, number) for number in range(100))
    yield Case("many-at-once", many, answers)
    yield Case("many-cut", many, answers, piece=61)


def masking() -> Iterator[Case]:
    for name, first in (
        ("text", TEXT),
        ("binary", BINARY),
        ("continuation", CONTINUATION),
        ("ping", PING),
        ("pong", PONG),
    ):
        yield Case(f"unmasked-{name}", end=encode(first, b"{}", None), code=1002)
    yield Case("unmasked-close", end=encode(CLOSE, b"\x03\xe8", None), code=1002)
    yield Case("unmasked-in-a-message", end=encode(0x01, b"{") + b"\x80\x01}", code=1002)
    # The mask is checked as soon as its bit is there.
    for size in (0, 5, 126, 127):
        yield Case(f"unmasked-{size}-two-bytes", end=bytes([TEXT, size]), code=1002)
    yield Case("unmasked-in-single-bytes", end=bytes([TEXT, 5]), code=1002, piece=1)
    yield Case("unmasked-deflated", end=bytes([TEXT | RSV1, 5]), code=1002, deflate="context")


# -- 2: pings and pongs ---------------------------------------------------------------------------


def pings() -> Iterator[Case]:
    for size in (0, 1, 125):
        payload = bytes(range(256))[-size:] if size else b""
        yield Case(f"ping-of-{size}", encode(PING, payload), pongs=(payload,))
        yield Case(f"ping-of-{size}-bytewise", encode(PING, payload), pongs=(payload,), piece=1)
    yield Case("ping-of-126", end=encode(PING, b"x" * 126), code=1002)
    yield Case("ping-of-126-bytewise", end=encode(PING, b"x" * 126), code=1002, piece=1)
    yield Case("ping-of-70000", end=encode(PING, b"x" * 70_000), code=1002)
    yield Case("ping-not-final", end=encode(PING ^ FIN, b"x"), code=1002)
    ten = tuple(b"ping %d" % number for number in range(10))
    stream = b"".join(encode(PING, payload) for payload in ten)
    yield Case("ten-pings", stream, pongs=ten)
    yield Case("ten-pings-bytewise", stream, pongs=ten, piece=1)
    stream = b"".join(encode(PING, p) + text(n, n) for n, p in enumerate(ten))
    yield Case("pings-and-texts", stream, tuple(reply(n, n) for n in range(10)), ten)
    yield Case("pong-unasked", encode(PONG, b""))
    yield Case("pong-unasked-with-payload", encode(PONG, b"unasked"))
    stream = encode(PONG, b"unasked") + encode(PING, b"asked")
    yield Case("pong-unasked-then-ping", stream, pongs=(b"asked",))
    yield Case("pong-of-126", end=encode(PONG, b"x" * 126), code=1002)
    yield Case("pong-not-final", end=encode(PONG ^ FIN, b"x"), code=1002)


# -- 3 and 4: reserved bits, reserved opcodes -----------------------------------------------------


def reserved() -> Iterator[Case]:
    for bits in range(RSV3, 0x80, RSV3):
        for deflate in ("", "context"):
            if deflate and bits == RSV1:
                continue
            name = f"rsv-{bits >> 4:03b}-{deflate or 'plain'}"
            frame = encode(TEXT | bits, b"\x00" if bits & RSV1 and deflate else b"{}")
            yield Case(name, end=frame, code=1002, deflate=deflate)
    for name, first in (("ping", PING), ("pong", PONG), ("close", CLOSE)):
        frame = encode(first | RSV1, b"\x03\xe8")
        yield Case(f"rsv1-{name}", end=frame, code=1002)
        yield Case(f"rsv1-{name}-deflate", end=frame, code=1002, deflate="context")
    yield Case("rsv1-binary", end=encode(BINARY | RSV1, b"{}"), code=1002)
    yield Case("rsv3-binary", end=encode(BINARY | RSV3, b"{}"), code=1002, deflate="context")
    frame = text("x")
    yield Case("rsv2-bytewise", end=bytes([frame[0] | RSV2]) + frame[1:], code=1002, piece=1)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"opcode-{opcode}", end=encode(FIN | opcode, b"{}"), code=1002)
    yield Case("opcode-3-empty", end=encode(FIN | 3, b""), code=1002)
    yield Case("opcode-11-empty", end=encode(FIN | 11, b""), code=1002)
    yield Case("opcode-3-not-final", end=encode(3, b"{}"), code=1002)
    yield Case("opcode-5-bytewise", end=encode(FIN | 5, b"{}"), code=1002, piece=1)
    yield Case("opcode-7-in-a-message", end=encode(1, b"{") + encode(FIN | 7, b"}"), code=1002)


# -- 5: fragmentation -----------------------------------------------------------------------------


def fragmentation() -> Iterator[Case]:
    short = ask("in parts")
    answer = (reply("in parts"),)
    ping, pong = encode(PING, b"between"), encode(PONG, b"between")
    yield Case("two-fragments", fragments(short, 20), answer)
    yield Case("two-fragments-bytewise", fragments(short, 20), answer, piece=1)
    yield Case("first-fragment-empty", fragments(short, 0), answer)
    yield Case("last-fragment-empty", fragments(short, len(short)), answer)
    yield Case("fragments-of-one-byte", fragments(short, *[1] * (len(short) - 1)), answer)
    yield Case("all-fragments-empty", fragments(b"", 0, 0), (error("bad_frame"),))
    for name, between, pongs in (
        ("ping", ping, (b"between",) * 2),
        ("pong", pong, ()),
        ("two-pings", ping + ping, (b"between",) * 4),
    ):
        stream = fragments(short, 10, 10, between=between)
        yield Case(f"{name}-in-a-message", stream, answer, pongs)
        yield Case(f"{name}-in-a-message-bytewise", stream, answer, pongs, piece=1)
    stream = fragments(short, 20) + text(2, 2) + fragments(ask(3, 3), 5) + text(4, 4)
    yield Case("whole-and-in-fragments", stream, (*answer, *(reply(n, n) for n in (2, 3, 4))))
    large = letters(FRAME_SIZE)
    sizes = [1300] * (FRAME_SIZE // 1300)
    yield Case("fragments-of-1300", fragments(ask(large), *sizes), (reply(large),))
    over = ask(letters(FRAME_SIZE + 1))
    yield Case("fragments-over-the-limit", fragments(over, *sizes), (error("too_large", 1),))
    # The fragments are small, and a short message after them is whole.
    yield Case(
        "fragments-at-the-limit-then-text",
        fragments(ask(large), 60_000) + text(2, 2),
        (reply(large), reply(2, 2)),
    )
    stream = fragments(short, 20, first=BINARY ^ FIN)
    yield Case("binary-fragments", stream, (error("bad_frame", 1),))
    for name, first in (("text", TEXT), ("binary", BINARY), ("text-not-final", TEXT ^ FIN)):
        end = encode(0x01, b'{"event":') + encode(first, b'"echo"}') + encode(FIN, b"}")
        yield Case(f"{name}-within-a-message", end=end, code=1002)
        yield Case(f"{name}-within-a-message-bytewise", end=end, code=1002, piece=1)
    whole = text("late", "late")
    parts = encode(0x01, b'{"event":'), whole
    yield Case("text-within-a-message-in-its-own-read", end=parts, code=1002)
    # What looks like a whole text message in a read of its own is a part of another one. With the
    # first bit in both masks, its bytes are ASCII without the outer mask.
    inner = encode(TEXT, ask("late"), b"\x81\x82\x83\x84")
    for name, first in (("text", TEXT), ("binary", BINARY)):
        head = encode(first, b"12345678", b"\x80\x80\x80\x80", 8 + len(inner) + 4)
        reads = head, inner, b"\xb1\xb2\xb3\xb4"
        yield Case(f"a-frame-within-a-{name}-frame", reads, (error("bad_frame"),))
    end = encode(0x01, b"") + text(2)
    yield Case("text-after-an-empty-fragment", end=end, code=1002)
    end = encode(0x01, b"{") + ping + text(2)
    yield Case("text-after-a-fragment-and-a-ping", end=end, pongs=(b"between",), code=1002)
    yield Case("continuation-of-nothing", end=encode(CONTINUATION, b"{}"), code=1002)
    yield Case("continuation-of-nothing-not-final", end=encode(0x00, b"{}"), code=1002)
    end = encode(CONTINUATION, b"{}")
    yield Case("continuation-after-a-message", fragments(short, 9), answer, end=end, code=1002)
    end = encode(0x01, b"{") + encode(CONTINUATION | RSV2, b"}")
    yield Case("continuation-with-rsv2", end=end, code=1002)
    end = encode(0x01, b"{") + encode(CONTINUATION | RSV1, b"}")
    yield Case("continuation-with-rsv1", end=end, code=1002)
    # RFC 6455 lets a client close within a message; websockets, the parser of both, does not.
    yield Case("close-within-a-message", end=encode(0x01, b"{") + BYE, code=1002)


# -- 6: UTF-8 -------------------------------------------------------------------------------------

VALID = {
    "greek": "κόσμε",
    "bounds-of-one-byte": "\x7f",
    "bounds-of-two": "\x80\u07ff",
    "bounds-of-three": "\u0800\ud7ff\ue000\uffff",
    "bounds-of-four": "\U00010000\U0010ffff",
    "noncharacters": "\ufdd0\ufffe\uffff\U0001fffe\U0010ffff",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469",
}
INVALID = {
    "continuation-80": b"\x80",
    "continuation-bf": b"\xbf",
    "continuations": b"\x80\xbf\x80\xbf",
    "start-of-two": b"\xc3 ",
    "start-of-three": b"\xe2\x82 ",
    "start-of-four": b"\xf0\x9f\x98 ",
    "starts-of-two": b"\xc2 \xc3 \xdf ",
    "overlong-slash-in-two": b"\xc0\xaf",
    "overlong-slash-in-three": b"\xe0\x80\xaf",
    "overlong-slash-in-four": b"\xf0\x80\x80\xaf",
    "overlong-nul-in-two": b"\xc0\x80",
    "overlong-nul-in-three": b"\xe0\x80\x80",
    "overlong-nul-in-four": b"\xf0\x80\x80\x80",
    "overlong-7f": b"\xc1\xbf",
    "overlong-7ff": b"\xe0\x9f\xbf",
    "overlong-ffff": b"\xf0\x8f\xbf\xbf",
    "surrogate-d800": b"\xed\xa0\x80",
    "surrogate-dfff": b"\xed\xbf\xbf",
    "surrogate-pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "over-10ffff": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "six-bytes": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "greek-then-surrogate": b"\xce\xba\xed\xa0\x80edited",
}


def utf8() -> Iterator[Case]:
    for name, message in VALID.items():
        payload = ask(message)
        yield Case(f"valid-{name}", encode(TEXT, payload), (reply(message),))
        # A cut within each character, if it has several bytes.
        stream = fragments(payload, *[1] * (len(payload) - 1))
        yield Case(f"valid-{name}-in-fragments", stream, (reply(message),))
    for name, data in INVALID.items():
        payload = ask("@").replace(b"@", data)
        yield Case(f"invalid-{name}", end=encode(TEXT, payload), code=1007)
    payload = ask("@").replace(b"@", b"\xed\xa0\x80")
    for name, end in {
        "in-fragments": fragments(payload, payload.index(b"\xed") + 1),
        "bytewise": encode(TEXT, payload),
        "in-the-last-fragment": fragments(payload, len(payload) - 1, 0),
        "at-the-end": encode(TEXT, ask("x") + b"\xe2\x82"),
        "at-the-end-in-fragments": fragments(ask("x") + b"\xe2\x82", 10),
        "alone": encode(TEXT, b"\xff"),
        # UTF-8 is checked before JSON, and before the limit.
        "in-what-is-not-json": encode(TEXT, b'{"event": \xff'),
        "over-the-limit": encode(TEXT, ask(letters(FRAME_SIZE)) + b"\xff\xff"),
        "over-the-limit-in-fragments": fragments(ask(letters(FRAME_SIZE)) + b"\xff\xff", 9),
    }.items():
        piece = 1 if name == "bytewise" else 0
        yield Case(f"invalid-{name}", end=end, code=1007, piece=piece)
    for deflate in ("context", "fresh"):
        end = Deflater().message(payload)
        yield Case(f"invalid-deflated-{deflate}", end=end, code=1007, deflate=deflate)
        end = fragments(Deflater().data(payload), 9, first=0x41)
        yield Case(f"invalid-deflated-fragments-{deflate}", end=end, code=1007, deflate=deflate)
    # A binary frame has no encoding; a surrogate that is escaped in JSON is no matter of UTF-8.
    frame = encode(BINARY, payload)
    yield Case("invalid-in-a-binary-frame", frame, (error("bad_frame", 1),))
    frame = encode(TEXT, b'{"event":"echo","message":"\\ud800","id":1}')
    yield Case("surrogate-escaped", frame, (error("bad_frame", 1),))


# -- 7: closing -----------------------------------------------------------------------------------


def closing() -> Iterator[Case]:
    for code in (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999):
        yield Case(f"close-{code}", end=encode(CLOSE, code.to_bytes(2, "big")), code=code)
    for code in (
        *(0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100),
        *(2000, 2999, 5000, 9999, 65535),
    ):
        yield Case(f"close-{code}", end=encode(CLOSE, code.to_bytes(2, "big")), code=1002)
    yield Case("close-empty", end=encode(CLOSE, b""), code=1005)
    yield Case("close-of-one-byte", end=encode(CLOSE, b"\x03"), code=1002)
    reason = b"\x03\xe9" + "Grüße".encode()
    yield Case("close-with-reason", end=encode(CLOSE, reason), code=1001)
    yield Case("close-with-reason-bytewise", end=encode(CLOSE, reason), code=1001, piece=1)
    yield Case("close-reason-of-123", end=encode(CLOSE, b"\x03\xe8" + b"r" * 123))
    yield Case("close-reason-of-124", end=encode(CLOSE, b"\x03\xe8" + b"r" * 124), code=1002)
    yield Case("close-not-final", end=encode(CLOSE ^ FIN, b"\x03\xe8"), code=1002)
    for name in ("ff", "surrogate-d800", "start-of-three"):
        end = encode(CLOSE, b"\x03\xe8" + INVALID[name])
        yield Case(f"close-reason-invalid-{name}", end=end, code=1007)
    # Nothing that comes after a close frame is handled.
    for name, after in {
        "close": encode(CLOSE, b"\x03\xe9"),
        "text": text("late", "late"),
        "deflated": Deflater().message(ask("late", "late")),
        "fragments": fragments(ask("late", "late"), 9),
        "ping": encode(PING, b"late"),
        "garbage": b"\xff" * 300,
        "unmasked": b"\x81\x02{}",
    }.items():
        deflate = "context" if name == "deflated" else ""
        yield Case(f"close-then-{name}", end=BYE + after, deflate=deflate)
        if len(after) < 100:
            yield Case(f"close-then-{name}-bytewise", end=BYE + after, piece=1, deflate=deflate)
    after = text("late", "late")
    yield Case("error-then-text", end=encode(FIN | 3, b"") + after, code=1002)
    yield Case("invalid-then-text", end=encode(TEXT, b"\xff") + after, code=1007)
    yield Case("invalid-fragments-then-text", end=fragments(b"\xff", 1) + after, code=1007)
    # Nor after the app has closed, and nothing that is invalid then changes its code.
    request = encode(TEXT, b'{"event":"end"}')
    for name, after in {
        "text": text("late", "late"),
        "fragments": fragments(ask("late", "late"), 9),
        "invalid": encode(TEXT, b"\xff"),
        "invalid-fragments": fragments(b"\xff", 1),
        "deflated": Deflater().message(ask("late", "late")),
        "deflated-garbage": encode(TEXT | RSV1, b"\xff\xff\xff"),
        "unmasked": b"\x81\x02{}",
    }.items():
        deflate = "context" if name.startswith("deflated") else ""
        case = Case(f"closed-by-the-app-then-{name}", end=request, code=4000, deflate=deflate)
        yield case._replace(after=after + BYE)


# -- 9: limits ------------------------------------------------------------------------------------


def limits() -> Iterator[Case]:
    for name, first, size in (
        ("text", TEXT, MAX_SIZE + 1),
        ("text", TEXT, 2**62),
        ("text", TEXT, 2**64 - 1),
        ("binary", BINARY, MAX_SIZE + 1),
        ("fragment", TEXT ^ FIN, 2**63),
    ):
        head = bytes([first, 255]) + size.to_bytes(8, "big") + bytes(4)
        yield Case(f"{name}-of-{size}", end=head, code=1009)
    yield Case("text-at-the-servers-limit", text(letters(MAX_SIZE)), (error("too_large", 1),))
    half = b"*" * (MAX_SIZE // 2 + 1)
    end = encode(0x01, half) + encode(0x00, half)
    yield Case("fragments-over-the-servers-limit", end=end, code=1009)
    for deflate in ("context", "fresh"):
        end = Deflater().message(ask(letters(MAX_SIZE + 1)))
        yield Case(f"deflated-over-the-limit-{deflate}", end=end, code=1009, deflate=deflate)
        end = fragments(Deflater().data(ask(letters(MAX_SIZE + 1))), 9, first=0x41)
        yield Case(f"deflated-fragments-over-{deflate}", end=end, code=1009, deflate=deflate)
        over = letters(FRAME_SIZE + 1)
        send = Deflater().message(ask(over)) + text(2, 2)
        answers = error("too_large", 1), reply(2, 2)
        yield Case(f"deflated-too-large-{deflate}", send, answers, deflate=deflate)


# -- 12 and 13: permessage-deflate ----------------------------------------------------------------


class Deflater:
    """Deflates a client's messages, with the context of those before unless `fresh`."""

    def __init__(self, bits: int = 12, fresh: bool = False) -> None:
        self._bits = bits
        self._fresh = fresh
        self._compressor = zlib.compressobj(wbits=-bits)

    def data(self, payload: bytes) -> bytes:
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if self._fresh:
            self._compressor = zlib.compressobj(wbits=-self._bits)
        return data[:-4]

    def message(self, payload: bytes) -> bytes:
        return encode(TEXT | RSV1, self.data(payload))


def words(size: int) -> str:
    """Return a text that repeats itself, closely and from far away."""
    choice = random.Random(size).choice
    parts = [choice(["alpha", "beta", "gamma"]) + hex(choice(range(10**6))) for _ in range(2000)]
    return (" ".join(parts) * (size // 20_000 + 1))[:size]


DEFLATED_SIZES = (0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 60_000)


def deflated_case(name: str, offer: Deflate, bits: int, fresh: bool = False) -> Case:
    """Messages of all sizes, each twice, deflated with the window that was agreed."""
    deflater = Deflater(bits, fresh)
    send, answers = b"", []
    for number, size in enumerate(DEFLATED_SIZES * 2):
        send += deflater.message(ask(words(size), number))
        answers.append(reply(words(size), number))
    return Case(f"deflate-{name}", send, tuple(answers), deflate=offer)


def deflating() -> Iterator[Case]:
    # uvicorn's own limit for both windows is 12 bits.
    yield deflated_case("no-client-window", Deflate(client_max_window_bits=None), 15)
    for bits in range(9, 16):
        offer = Deflate(client_max_window_bits=bits)
        yield deflated_case(f"client-window-{bits}", offer, min(bits, 12))
        if bits % 3 == 0:
            offer = Deflate(server_max_window_bits=bits)
            yield deflated_case(f"server-window-{bits}", offer, 12)
    for client in (False, True):
        for server in (False, True):
            offer = Deflate(server, client)
            yield deflated_case(f"takeover-{not server:d}{not client:d}", offer, 12, client)
    offer = Deflate(True, True, 9, 9)
    yield deflated_case("no-takeover-window-9", offer, 9, fresh=True)
    # A server cannot have a window of 8 bits, so the offer is declined: RSV1 is an error.
    end = Deflater(9).message(ask("x"))
    offer = Deflate(server_max_window_bits=8)
    yield Case("deflate-server-window-8", end=end, code=1002, deflate=offer)


def deflated() -> Iterator[Case]:
    short, answer = ask("deflated"), (reply("deflated"),)
    ping = encode(PING, b"between")
    for deflate in ("context", "fresh"):

        def case(name: str, send: bytes, answers: tuple[Answer, ...] = answer, **more: Any) -> Case:
            return Case(f"{name}-{deflate}", send, answers, deflate=deflate, **more)  # noqa: B023

        def bad(name: str, end: bytes, code: int = 1002) -> Case:
            return Case(f"{name}-{deflate}", end=end, code=code, deflate=deflate)  # noqa: B023

        data = Deflater().data(short)
        yield case("deflated", encode(TEXT | RSV1, data))
        yield case("deflated-bytewise", encode(TEXT | RSV1, data), piece=1)
        # The decoder is not there before the first message that needs it.
        yield case("deflated-fragments-first", fragments(data, 5, 5, first=0x41))
        stream = fragments(data, 5, 5, first=0x41, between=ping)
        yield case("ping-in-a-deflated-message", stream, pongs=(b"between",) * 2)
        stream = fragments(data, *[1] * (len(data) - 1), first=0x41)
        yield case("deflated-fragments-of-one-byte", stream)
        stream = encode(BINARY | RSV1, data)
        yield case("deflated-binary-first", stream, (error("bad_frame", 1),))
        deflater = Deflater(fresh=deflate == "fresh")
        stream = b"".join(
            (
                fragments(deflater.data(ask("deflated", 0)), 4, first=0x41),
                deflater.message(ask("deflated", 1)),
                text("plain", 2),
                encode(BINARY | RSV1, deflater.data(ask("deflated", 3))),
                deflater.message(ask("deflated", 4)),
                fragments(ask("plain", 5), 4),
                fragments(deflater.data(ask("deflated", 6)), 4, first=0x41),
                deflater.message(ask(letters(FRAME_SIZE + 1), 7)),
                deflater.message(ask("deflated", 8)),
            )
        )
        answers = (
            *(reply("deflated", 0), reply("deflated", 1), reply("plain", 2)),
            *(error("bad_frame", 3), reply("deflated", 4), reply("plain", 5)),
            *(reply("deflated", 6), error("too_large", 7), reply("deflated", 8)),
        )
        yield case("plain-and-deflated", stream, answers)
        yield case("plain-and-deflated-cut", stream, answers, piece=3)
        stored = b"\x00" + len(short).to_bytes(2, "little")
        stored += (0xFFFF - len(short)).to_bytes(2, "little") + short
        yield case("deflated-stored", encode(TEXT | RSV1, stored + b"\x00"))
        yield case("deflated-empty", encode(TEXT | RSV1, b"\x00"), (error("bad_frame"),))
        yield case("deflated-of-no-bytes", encode(TEXT | RSV1, b""), (error("bad_frame"),))
        final = zlib.compressobj(wbits=-12)
        stream = encode(TEXT | RSV1, final.compress(short) + final.flush() + b"\x00")
        yield case("deflated-final-block", stream)
        yield bad("deflated-garbage", encode(TEXT | RSV1, b"\xff\xff\xff"))
        yield bad("deflated-garbage-in-fragments", fragments(b"\xff\xff\xff", 1, first=0x41))
        yield bad("deflated-window-too-large", Deflater(15).message(ask(words(30_000) * 2)))
        end = encode(0x41, data[:5]) + encode(CONTINUATION | RSV1, data[5:])
        yield bad("rsv1-in-a-deflated-continuation", end)
        end = encode(0x01, short[:5]) + encode(CONTINUATION | RSV1, short[5:])
        yield bad("rsv1-in-a-plain-continuation", end)
        yield bad("rsv1-in-a-continuation-of-nothing", encode(CONTINUATION | RSV1, data))
        yield bad("deflated-within-a-message", encode(0x01, b"{") + encode(0xC1, data))
        yield bad("deflated-within-a-deflated", encode(0x41, data[:5]) + encode(0xC1, data))
    yield Case("deflated-not-agreed", end=Deflater().message(short), code=1002)


CASES = [
    *framing(),
    *masking(),
    *pings(),
    *reserved(),
    *fragmentation(),
    *utf8(),
    *closing(),
    *limits(),
    *deflating(),
    *deflated(),
]


# -- the servers ----------------------------------------------------------------------------------


@dataclass
class Seen:
    """What the app has seen of one connection."""

    handled: list[object] = field(default_factory=list)
    code: asyncio.Future[int] = field(default_factory=asyncio.Future)
    source: type | None = None


class Echo:
    """An app that answers, on a server of its own."""

    server: Server
    runner: asyncio.Runner

    def __init__(self, source: type) -> None:
        self.source = source
        self.app = WSRoom(direct=source is Link, deflate_context=True)
        self.app.add_handler("echo", self.echo)
        self.app.add_handler("end", self.end)
        self.app.add_hook("on_disconnect", self.gone)
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)

    async def echo(self, emitter: Emitter, message: object) -> object:
        self.seen[emitter.socket.query["case"]].handled.append(message)
        return message

    async def end(self, emitter: Emitter) -> None:
        await emitter.socket.close(4000)

    async def gone(self, socket: Socket, code: int) -> None:
        connection: Any = socket._connection
        seen = self.seen[socket.query["case"]]
        seen.source = type(connection.source)
        seen.code.set_result(code)


@pytest.fixture(scope="module", params=[Link, Inbox], ids=["link", "ordinary"])
def echo(request: pytest.FixtureRequest) -> Iterator[Echo]:
    """An app whose frames are read by a link, and one that gets them through `receive`."""
    echo = Echo(request.param)
    with serving(echo.app, "uvloop", ws_max_size=MAX_SIZE) as (echo.server, echo.runner):
        yield echo


def cut(data: bytes | tuple[bytes, ...], size: int) -> list[bytes]:
    if isinstance(data, tuple):
        return list(data)
    size = size or len(data) or 1
    return [data[start : start + size] for start in range(0, len(data), size)]


async def play(case: Case, echo: Echo) -> None:
    async with raw_peer(echo.server.url(f"/ws?case={case.id}"), case.deflate) as peer:
        await peer.send(cut(case.send, case.piece) + cut(text(*LAST[1:]), case.piece))
        await peer.wait_for_id("last")
        await peer.send(cut(case.end or BYE, case.piece))
        if case.after:
            await peer.wait_for_close()
            await peer.send([case.after])
        heard = await peer.end()
    assert peer.answers == [*case.answers, LAST]
    assert heard.pongs == list(case.pongs)
    assert heard.code == case.code
    seen = echo.seen[case.id]
    assert await asyncio.wait_for(seen.code, WAIT) == case.code
    assert seen.handled == [answer[1] for answer in peer.answers if answer[0] == "reply"]
    assert seen.source is echo.source


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_a_case(case: Case, echo: Echo) -> None:
    """The answers, the pongs, what the app has seen, and the close code."""
    echo.runner.run(play(case, echo))


def test_the_cases_have_names_of_their_own() -> None:
    """So a failure says which one it is."""
    assert len({case.id for case in CASES}) == len(CASES) > 150
