"""uvicorn's WebSocket protocol on websockets, as far as a link uses it.

The only file that names what is private to uvicorn and websockets. `misfit` looks at each of these
names, so with a release that changes them frames take the ordinary way.
"""

from __future__ import annotations

import asyncio
import functools
import zlib
from typing import Any

from wsroom.direct.frames import Unmask
from wsroom.direct.headers import JoinedHeaders

_END = b"\x00\x00\xff\xff"  # of each deflated message, left out on the wire (RFC 7692, 7.2.2)

_EXTENSIONS = "Sec-WebSocket-Extensions"

MOST_INFLATED = 1024 * 1024
"""Bytes of one message that are inflated at most."""


_OF_SERVER = (
    "data_received",
    "connection_lost",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "handle_parser_exception",
    "stop_keepalive",
    "keepalive_timeout",
)
_OF_WRITABLE = ("wait", "is_set", "set", "clear")
_OF_TRANSPORT = ("set_protocol", "get_protocol", "pause_reading", "resume_reading", "is_closing")
_OF_PARSER = ("receive_data", "fail", "send_close")


def misfit(server: Any) -> str | None:
    """Return why the bytes of this connection cannot be read here; None if they can.

    Called before the handshake is answered: nothing that the client sent may have been read yet.
    """
    queue: Any = getattr(server, "queue", None)
    transport: Any = getattr(server, "transport", None)
    conn: Any = getattr(server, "conn", None)
    for owner, names in (
        (server, _OF_SERVER),
        (transport, _OF_TRANSPORT),
        (conn, _OF_PARSER),
        (getattr(server, "writable", None), _OF_WRITABLE),
    ):
        for name in names:
            if not callable(getattr(owner, name, None)):
                return f"the server has no {name}"
    if not isinstance(queue, asyncio.Queue) or not queue.empty():
        return "the server's queue is unknown, or is not empty"
    if getattr(server, "read_paused", None) is not False:
        return "the server is not reading"
    if getattr(server, "close_sent", None) is not False or not hasattr(conn, "eof_sent"):
        return "the server's state is unknown, or it is closing"
    if not isinstance(getattr(server, "scope", None), dict):
        return "the server's scope is unknown"
    if getattr(conn, "parser_exc", conn) is not None or not isinstance(conn.extensions, list):
        return "the server's parser is unknown, or has failed"
    if not _between_frames(conn):
        return "the client has begun to send before the handshake was answered"
    if transport.get_protocol() is not server:
        return "the transport belongs to another protocol"
    return None


def _between_frames(conn: Any) -> bool:
    # Where the parser stands: an empty buffer alone may also be within a frame or a message.
    # `current_size` was `cur_size` in older releases of websockets.
    for name in ("current_size", "cur_size"):
        if getattr(conn, name, None) is not None:
            return False
    generator = getattr(conn, "parser", None)
    while (inner := getattr(generator, "gi_yieldfrom", None)) is not None:
        generator = inner
    buffer = getattr(getattr(conn, "reader", None), "buffer", None)
    return getattr(generator, "__name__", "") == "at_eof" and buffer == b""


def take_over(server: Any, link: Any) -> None:
    """Make `link` the protocol of the transport, and the queue of what the server has parsed."""
    server.read_paused = True  # so that the server does not pause reading for each message
    server.queue = link
    server.transport.set_protocol(link)


def forbid_context(server: Any) -> None:
    """Have the client deflate each message by itself; before the handshake is answered.

    It is a server's right (RFC 7692, section 7.1.1.2), and saves a decoder of 11 kB a connection.
    """
    for extension in server.conn.extensions:
        if extension.name != "permessage-deflate" or extension.remote_no_context_takeover:
            continue
        headers = server.response.headers
        accepted = headers.get(_EXTENSIONS, "")
        if accepted.startswith(extension.name) and "," not in accepted:
            extension.remote_no_context_takeover = True
            extension.decoder = None
            del headers[_EXTENSIONS]
            headers[_EXTENSIONS] = f"{accepted}; client_no_context_takeover"


class _Writable:
    # Stands for an asyncio.Event that is set, for all connections that may be written to.

    async def wait(self) -> bool:
        return True

    def is_set(self) -> bool:
        return True

    def set(self) -> None:
        pass


_WRITABLE = _Writable()


def slim(server: Any) -> None:
    """Let go of what the server keeps of a connection and needs only for its handshake."""
    server.request = server.response = None
    server.stop_keepalive()  # a `Keepalive` pings instead
    server.scope["headers"] = JoinedHeaders(server.scope["headers"])
    if server.writable.is_set():
        server.writable = _WRITABLE


class _RestingParser:
    # Stands for a parser between two messages, whose generators and request take 5 kB. It makes
    # another one as soon as it is asked for anything that is not among these attributes.

    __slots__ = ("_server", "extensions")

    close_sent = close_rcvd = parser_exc = None
    eof_sent = False

    def __init__(self, server: Any, extensions: list[Any]) -> None:
        self._server = server
        self.extensions = extensions

    def __getattr__(self, name: str) -> Any:
        return getattr(wake_parser(self._server), name)


def let_parser_rest(server: Any) -> None:
    """Let go of the server's parser; it must be between messages. It comes back when needed."""
    conn = server.conn
    if conn.__class__ is not _RestingParser and not (is_over(server) or conn.close_rcvd):
        server.conn = _RestingParser(server, conn.extensions)


def wake_parser(server: Any) -> Any:
    """Return the server's parser, which is made again if it rests."""
    conn = server.conn
    if conn.__class__ is _RestingParser:
        from websockets.protocol import OPEN
        from websockets.server import ServerProtocol

        extensions = conn.extensions
        size = longest_message(server)
        conn = server.conn = ServerProtocol(state=OPEN, max_size=size, logger=server.logger)
        conn.extensions = extensions
    return conn


def pings(server: Any) -> tuple[float, float | None] | None:
    """Return uvicorn's `ws_ping_interval` and `ws_ping_timeout`; None if it sends no pings."""
    interval: float | None = getattr(server, "ping_interval", None)
    if interval is None or not interval > 0:
        return None
    return interval, getattr(server, "ping_timeout", None)


def pause_writing(server: Any) -> None:
    """The transport's buffer is full: what is awaited in `send` waits."""
    if server.writable is _WRITABLE:
        server.writable = asyncio.Event()
    server.pause_writing()


def is_over(server: Any) -> bool:
    """Whether the server has sent or received a close frame, or has failed."""
    conn = server.conn
    return bool(server.close_sent or conn.eof_sent or conn.parser_exc is not None)


def fail(server: Any, code: int, reason: str) -> None:
    """Close the connection because of what the client sent; notify the app."""
    server.conn.fail(code, reason)
    server.handle_parser_exception()


@functools.cache
def unmask_function() -> Unmask:
    """Return websockets' function that removes a mask, in C if it has that."""
    # Here, because importing wsroom must not import websockets.
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        from websockets.utils import apply_mask
    return apply_mask


def longest_message(server: Any) -> int | None:
    """Return uvicorn's `ws_max_size`: the most bytes of a message that it accepts."""
    size: int | None = getattr(server.config, "ws_max_size", None)
    return size


class Inflater:
    """Inflates messages that came deflated, with the context of the server's own parser."""

    __slots__ = ("_extension", "_most", "_strict")

    def __init__(self, extension: Any, longest: int | None) -> None:
        self._extension = extension
        # All data frames leave through a TransportWriter, which has no compressor for each socket.
        extension.encoder = None
        if not extension.remote_no_context_takeover:
            extension.decoder = None  # until the first message that is deflated
        self._strict = longest is not None and longest <= MOST_INFLATED
        self._most = longest if longest is not None and self._strict else MOST_INFLATED

    @classmethod
    def of(cls, server: Any) -> Inflater | None:
        """Return an inflater for the connection; None if messages are not deflated."""
        for extension in server.conn.extensions:
            if getattr(extension, "name", "") == "permessage-deflate":
                return cls(extension, longest_message(server))
        return None

    def prepare(self) -> None:
        """Make sure that there is a decoder: bytes follow that may need it."""
        extension = self._extension
        if not extension.remote_no_context_takeover and extension.decoder is None:
            extension.decoder = zlib.decompressobj(wbits=-extension.remote_max_window_bits)

    def inflate(self, data: bytes) -> bytes:
        """Inflate a message, up to 1 MiB of it if it has no context that later ones need.

        Raises:
            ValueError: it is not deflated.
            OverflowError: it is longer, and the context of later messages is lost; or it is longer
                than `ws_max_size`.

        """
        extension = self._extension
        fresh = extension.remote_no_context_takeover
        try:
            if fresh:
                decoder = zlib.decompressobj(wbits=-extension.remote_max_window_bits)
            else:
                self.prepare()
                decoder = extension.decoder
            payload: bytes = decoder.decompress(data + _END, self._most + 1)
        except zlib.error as exc:
            raise ValueError(str(exc)) from exc
        if len(payload) > self._most and (self._strict or not fresh):
            raise OverflowError
        return payload
