"""Writing straight to the transport of the server, where that is known."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from wsroom.asgi.types import Send
from wsroom.delivery.frames import WINDOW_BITS, Chunk, PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.writer import BURST, TOO_SLOW, WriteFailureHandler, Writer, frames_of
from wsroom.tasks import WRITING

logger = logging.getLogger("wsroom")


class _Sink(list[Chunk | PreparedFrame]):
    """Takes everything and keeps nothing; full, so that nobody flushes it."""

    def append(self, frame: Chunk | PreparedFrame) -> None:
        pass

    def __bool__(self) -> bool:
        return True


_SINK = _Sink()
_NOTHING = PreparedFrame(b"")


class TransportWriter(Writer):
    """Writes WebSocket frames straight to the transport of the server's own protocol object.

    ASGI's `receive` is a method of that object in uvicorn, also where Starlette and FastAPI have
    wrapped `send`. All data frames of a connection leave here, so the server's own compressor is
    never used, and frames without compression or deflated by themselves are both legal.

    The connection is given up if it has more unsent bytes than the outbox's limit and they do not
    shrink between two checks, or if it has over 16 times that many. Bytes that are unsent 5 s
    after the connection began to close, whoever closed it, are aborted: a transport would wait
    for ever.
    """

    __slots__ = (
        "_closing",
        "_closing_since",
        "_collected",
        "_outbox",
        "_owner",
        "_send",
        "_server",
        "_transport",
        "_unsent",
        "accepts_deflate",
        "idle_transport",
    )

    @staticmethod
    def fits(server: Any) -> bool:
        """Whether what this class relies on is there, told by features, never by versions."""
        transport = getattr(server, "transport", None)
        verbs = ("write", "is_closing", "get_write_buffer_size", "abort")
        return (
            all(callable(getattr(transport, verb, None)) for verb in verbs)
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
        owner: WriteFailureHandler,
    ) -> None:
        super().__init__(id, path)
        self._server = server
        self._transport = server.transport
        self._send = send
        self._outbox = outbox
        self._owner = owner
        self.accepts_deflate = False
        self.idle_transport: Any = None
        # What this tick has for the socket so far; before `open` all that is written. While it
        # waits there, or after the end, `idle_transport` is None and frames go nowhere else.
        self._collected: list[Chunk | PreparedFrame] = [_NOTHING]
        self._closing: asyncio.Task[None] | None = None
        self._closing_since: float | None = None
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet, without what this tick has collected."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def write(self, frame: PreparedFrame) -> None:
        """Send `frame` at the end of this tick; does nothing once the socket is closing."""
        if self._outbox.frames:
            self._outbox.distribute()  # what was sent to rooms before comes before
        self.collect(frame)

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, after what was collected before."""
        if self.idle_transport is not None:
            self.idle_transport = None
            self._outbox.add(self)
        self._collected.append(chunk)

    def open(self, first: PreparedFrame) -> None:
        """The handshake is done: send `first`, then what was taken before."""
        self.accepts_deflate = _window_bits(self._server) >= WINDOW_BITS
        self._collected[0] = first
        self._outbox.add(self)

    def check_flood(self) -> None:
        """Give the connection up if over 16 times the limit is unsent."""
        if self._collected is _SINK or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._outbox.limit * BURST:
            # Soon, not now: the outbox may be walking through the room that this socket leaves.
            self._shut()
            asyncio.get_running_loop().call_soon(self._owner.give_up, *TOO_SLOW)

    def flush(self) -> int:
        """Send what was collected; return its size in bytes."""
        collected = self._collected
        if not collected or collected is _SINK:
            return 0
        chunk = collected[0] if len(collected) == 1 else Chunk(frames_of(collected))
        collected.clear()
        transport = self.idle_transport = self._transport
        # After a close frame nothing may follow (RFC 6455, section 5.5.1). uvicorn closes the
        # transport with each that it sends by itself; ours comes from `close`, below.
        if transport.is_closing():
            return 0
        data = chunk.packed() if self.accepts_deflate else chunk.plain
        transport.write(data)
        return len(data)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what was taken; take no more."""
        if self._closing is None:
            self._outbox.distribute()
            self.flush()
            self._shut()
            close = {"type": "websocket.close", "code": code, "reason": reason}
            loop = asyncio.get_running_loop()
            self._closing = loop.create_task(self._send_close(close), name=WRITING)
            self._outbox.watch(self)

    async def _send_close(self, close: dict[str, Any]) -> None:
        try:
            await self._send(close)  # waits while the transport holds more than it likes to
        except Exception:
            logger.debug("a close frame could not be sent", exc_info=True)

    def drop(self) -> None:
        """Forget what is unsent, which the peer does not take; only `close` may follow."""
        self._shut()

    async def stop(self) -> None:
        """The connection is over: end the task; what is unsent gets its 5 s."""
        self._shut()
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.wait([self._closing])
        if self._transport.get_write_buffer_size():
            self._outbox.watch(self)

    def _shut(self) -> None:
        self._collected = _SINK
        self.idle_transport = None

    def check_unsent(self, now: float) -> bool:
        """Give up or abort the connection if it is slow; returns whether to check again."""
        transport = self._transport
        before, self._unsent = self._unsent, transport.get_write_buffer_size()
        if not self._unsent:
            return False
        if self._collected is _SINK or transport.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            elif now - self._closing_since > self._abort_after():
                transport.abort()
                return False
        elif self._unsent >= before > self._outbox.limit:
            self._owner.give_up(*TOO_SLOW)
        return True

    def _abort_after(self) -> float:
        # Half an interval less, so that a check that comes a little early aborts, not the next.
        timing = self._outbox.timing
        return timing.abort_after - timing.unsent_check_interval / 2


def _window_bits(server: Any) -> int:
    """The deflate window that the server may use on this connection; 0 where that is unknown."""
    conn = getattr(server, "conn", None)
    # websockets keeps its extensions on the protocol, wsproto on the frame layer inside.
    inner = getattr(getattr(conn, "_connection", None), "_proto", None)
    for extension in getattr(conn, "extensions", None) or getattr(inner, "extensions", None) or ():
        if getattr(extension, "name", "") == "permessage-deflate":
            for name in ("local_max_window_bits", "server_max_window_bits"):
                bits = getattr(extension, name, None)
                if isinstance(bits, int):
                    return bits
    return 0
