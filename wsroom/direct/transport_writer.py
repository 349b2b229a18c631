"""A writer that uses the transport of the server, if it is known."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from wsroom.asgi.types import Send
from wsroom.delivery.frames import WINDOW_BITS, Chunk, PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.writer import (
    FLOOD_FACTOR,
    TOO_SLOW,
    VOLATILE_LIMIT,
    WriteFailureHandler,
    Writer,
    unsent_bytes,
)
from wsroom.tasks import WRITING

logger = logging.getLogger("wsroom")


class _Discarding(list[Chunk | PreparedFrame]):
    # Replaces the collected frames after the end, so that `collect` needs no check.

    def append(self, frame: Chunk | PreparedFrame) -> None:
        pass


_DISCARDING = _Discarding()
_EMPTY = PreparedFrame(b"")


class TransportWriter(Writer):
    """Writes WebSocket frames to the transport of the server's protocol object.

    In uvicorn ASGI's `receive` is a method of that object, even if Starlette or FastAPI wraps
    `send`. All data frames of a connection are written here, so the server's own compressor is
    never used, and both plain and separately deflated frames are legal.

    The connection is given up if it has more unsent bytes than the outbox's limit and they do not
    shrink between two checks, or if it has over 16 times that many. If it
    has unsent bytes 5 s after it began to close, whichever side closed it, it is aborted: the
    transport would wait for ever.
    """

    __slots__ = (
        "_closing",
        "_closing_since",
        "_collected",
        "_connection",
        "_outbox",
        "_send",
        "_server",
        "_transport",
        "_unsent",
        "accepts_deflate",
        "idle_transport",
    )

    @staticmethod
    def supports(server: Any) -> bool:
        """Whether a protocol object has the features that this class needs."""
        transport = getattr(server, "transport", None)
        methods = ("write", "is_closing", "get_write_buffer_size", "abort")
        return (
            all(callable(getattr(transport, method, None)) for method in methods)
            and isinstance(getattr(server, "handshake_complete", None), bool)
            and isinstance(getattr(server, "close_sent", None), bool)
        )

    def __init__(
        self,
        id: str,
        path: str,
        server: Any,
        send: Send,
        outbox: Outbox,
        connection: WriteFailureHandler,
    ) -> None:
        super().__init__(id, path)
        self._server = server
        self._transport = server.transport
        self._send = send
        self._outbox = outbox
        self._connection = connection
        self.accepts_deflate = False
        self.idle_transport: Any = None
        # The frames of this tick, and before `open` all frames. While there are any, and after the
        # end, `idle_transport` is None, so that frames cannot overtake them.
        self._collected: list[Chunk | PreparedFrame] = [_EMPTY]
        self._closing: asyncio.Task[None] | None = None
        self._closing_since: float | None = None
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """The bytes that the system has not accepted yet, without those collected in this tick."""
        return unsent_bytes(self._transport)

    @property
    def ended(self) -> bool:
        return self._collected is _DISCARDING

    def write(self, frame: PreparedFrame) -> None:
        """Send `frame` at the end of this tick; does nothing once the socket is closing."""
        if self._outbox.frames:
            self._outbox.distribute()  # frames that were sent to rooms before come first
        self._outbox.count(frame)
        self.collect(frame)

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, after those collected before."""
        if chunk.volatile and self.unsent > VOLATILE_LIMIT:
            lasting = chunk.lasting()
            if lasting is None:
                return
            chunk = lasting
        if self.idle_transport is not None:
            self.idle_transport = None
            self._outbox.flush_later(self)
        self._collected.append(chunk)

    def note_pongs(self) -> bool:
        """Check the connection while answers to pings are unsent; return whether they are many."""
        unsent = self.unsent
        if unsent:
            self._outbox.watch(self)
        return unsent > self._outbox.limit

    def open(self, first: PreparedFrame) -> None:
        """Send `first`, then what was written before; called when the handshake is done."""
        self.accepts_deflate = _window_bits(self._server) >= WINDOW_BITS
        self._collected[0] = first
        self._outbox.count(first)
        self._outbox.flush_later(self)

    def check_flood(self) -> None:
        """Give the connection up if over 16 times the limit is unsent."""
        if self.ended or self._transport.is_closing():
            return
        if self.unsent > self._outbox.limit * FLOOD_FACTOR:
            self.give_up_soon()

    def give_up_soon(self) -> None:
        # Not now: the outbox may be walking through the room that this socket leaves.
        self._discard()
        asyncio.get_running_loop().call_soon(self._connection.give_up, *TOO_SLOW)

    def flush(self) -> int:
        """Send what was collected; returns its size in bytes."""
        collected = self._collected
        if not collected:
            return 0
        if len(collected) == 1:
            data = collected[0].deflated() if self.accepts_deflate else collected[0].plain
        elif self.accepts_deflate:
            data = b"".join([chunk.deflated() for chunk in collected])
        else:
            data = b"".join([chunk.plain for chunk in collected])
        collected.clear()
        transport = self.idle_transport = self._transport
        # Nothing may follow a close frame (RFC 6455, section 5.5.1). uvicorn closes the transport
        # with each close frame of its own; the app's are sent by `close`, below.
        if transport.is_closing():
            return 0
        transport.write(data)
        return len(data)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after the frames written before; later ones are ignored."""
        if self._closing is None:
            self._outbox.distribute()
            self.flush()
            self._discard()
            close = {"type": "websocket.close", "code": code, "reason": reason}
            loop = asyncio.get_running_loop()
            self._closing = loop.create_task(self._send_close(close), name=WRITING)
            self._outbox.watch(self)

    async def _send_close(self, close: dict[str, Any]) -> None:
        try:
            await self._send(close)  # waits while the transport is over its high-water mark
        except Exception:
            logger.debug("a close frame could not be sent", exc_info=True)

    def drop(self) -> None:
        """Accept no more frames, because the peer does not read; only `close` may follow."""
        self._discard()

    async def stop(self) -> None:
        """End the task; called when the connection is over. Unsent bytes have 5 s left."""
        self._discard()
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.wait([self._closing])
        if self.unsent:
            self._outbox.watch(self)

    def _discard(self) -> None:
        self._collected = _DISCARDING
        self.idle_transport = None

    def check_unsent(self, now: float) -> bool:
        """Give up or abort the connection if it is slow; returns whether to check again."""
        transport = self._transport
        before, self._unsent = self._unsent, self.unsent
        if not self._unsent:
            return False
        if self.ended or transport.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            elif now - self._closing_since > self._abort_after():
                transport.abort()
                return False
        elif self._unsent >= before > self._outbox.limit:
            self._connection.give_up(*TOO_SLOW)
        return True

    def _abort_after(self) -> float:
        # Half an interval less, so that a check that comes a little early aborts, not the next.
        timing = self._outbox.timing
        return timing.abort_after - timing.unsent_check_interval / 2


def _window_bits(server: Any) -> int:
    # The deflate window that the server may use on this connection; 0 if it is unknown.
    conn = getattr(server, "conn", None)
    extensions = getattr(conn, "extensions", None)
    if extensions is None:
        # websockets keeps its extensions on the protocol, wsproto on the frame layer inside.
        inner = getattr(getattr(conn, "_connection", None), "_proto", None)
        extensions = getattr(inner, "extensions", None)
    for extension in extensions or ():
        if getattr(extension, "name", "") == "permessage-deflate":
            for name in ("local_max_window_bits", "server_max_window_bits"):
                bits = getattr(extension, name, None)
                if isinstance(bits, int):
                    return bits
    return 0
