"""How bytes leave a socket: in order, and without making anybody wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from wsroom.asgi import Send
from wsroom.frames import WINDOW_BITS, Chunk, PreparedFrame
from wsroom.outbox import LOOK_EVERY, Outbox

logger = logging.getLogger("wsroom")

WRITING = "wsroom: writes to a socket"

GiveUp = Callable[[int, str], None]
"""Takes the close code and the reason where a socket cannot be written to any more."""

TOO_SLOW = 1013, "too slow"
SLOW_AFTER = 1.0
ABORT_AFTER = 5.0
"""Seconds that a closing connection may take to send what is left."""

# Between two looks at a socket that is over its limit nothing else bounds what a flood adds.
BURST = 16


class _Sink(list[Chunk | PreparedFrame]):
    """Takes everything and keeps nothing; full, so that nobody flushes it."""

    def append(self, frame: Chunk | PreparedFrame) -> None:
        pass

    def __bool__(self) -> bool:
        return True


_SINK = _Sink()
_NOTHING = PreparedFrame(b"")


class TransportWriter:
    """Writes WebSocket frames straight to the transport of the server's own protocol object.

    ASGI's `receive` is a method of that object in uvicorn, also where Starlette and FastAPI have
    wrapped `send`. All data frames of a connection leave here, so the server's own compressor is
    never used, and frames without compression or deflated by themselves are both legal.

    Over `limit` bytes unsent and not shrinking for a second, or over 16 times that, it calls
    `give_up`. What is unsent 5 s after the connection began to close, whoever closed it, is
    aborted: a transport would wait for ever.
    """

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
        self, server: Any, send: Send, outbox: Outbox, limit: int, give_up: GiveUp
    ) -> None:
        self._server = server
        self._transport = server.transport
        self._send = send
        self._outbox = outbox
        self._limit = limit
        self._give_up = give_up
        self._packs = False
        # What this tick has for the socket so far. Never empty before `open` and after the end, so
        # that nobody flushes it then.
        self._collected: list[Chunk | PreparedFrame] = [_NOTHING]
        self._closing: asyncio.Task[None] | None = None
        self._closing_since: float | None = None
        self._unsent = 0

    def write(self, frame: PreparedFrame) -> None:
        """Send `frame` at the end of this tick; does nothing once the socket is closing."""
        if self._outbox.frames:
            self._outbox.settle()  # what was sent to rooms before comes before
        self.collect(frame)

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, after what was collected before."""
        if not self._collected:
            self._outbox.add(self)
        self._collected.append(chunk)

    def open(self, first: PreparedFrame) -> None:
        """The handshake is done: send `first`, then what was taken before."""
        self._packs = _window_bits(self._server) >= WINDOW_BITS
        self._collected[0] = first
        self._outbox.add(self)

    def take(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` now, or after what was collected; never waits."""
        if self._collected:
            self._collected.append(chunk)
            return
        transport = self._transport
        # After a close frame nothing may follow (RFC 6455, section 5.5.1), and `is_closing` is
        # still False right after ASGI's close.
        if self._server.close_sent or transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._limit * BURST:
            # Soon, not now: the outbox may be walking through the room that this socket leaves.
            self._collected = _SINK
            asyncio.get_running_loop().call_soon(self._give_up, *TOO_SLOW)
            return
        transport.write(chunk.packed if self._packs else chunk.plain)

    def flush(self) -> None:
        """Send what was collected."""
        collected = self._collected
        if collected and collected is not _SINK:
            self._collected = []
            self.take(collected[0] if len(collected) == 1 else Chunk(_frames(collected)))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what was taken; take no more."""
        if self._closing is None:
            self._outbox.settle()
            self.flush()
            self._collected = _SINK
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
        self._collected = _SINK

    async def stop(self) -> None:
        """The connection is over: end the task; what is unsent gets its 5 s."""
        self._collected = _SINK
        if self._closing is not None:
            self._closing.cancel()
            await asyncio.wait([self._closing])
        if self._transport.get_write_buffer_size():
            self._outbox.watch(self)

    def look(self, now: float) -> bool:
        """Call `give_up`, or abort, where it is time; False where nothing is unsent."""
        transport = self._transport
        before, self._unsent = self._unsent, transport.get_write_buffer_size()
        if not self._unsent:
            return False
        if self._collected is _SINK or transport.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            elif now - self._closing_since > ABORT_AFTER - LOOK_EVERY / 2:
                transport.abort()
                return False
        elif self._unsent >= before > self._limit:
            self._give_up(*TOO_SLOW)
        return True


def _frames(collected: list[Chunk | PreparedFrame]) -> list[PreparedFrame]:
    frames: list[PreparedFrame] = []
    for item in collected:
        if isinstance(item, Chunk):
            frames += item.frames
        else:
            frames.append(item)
    return frames


class SendWriter:
    """Writes through ASGI's `send`, in order, from a task that lives while there is something.

    Frames written before `open` are held, so that the first frame is the first. Over `limit`
    bytes unsent and not shrinking for a second, or over 16 times that, it calls `give_up`.
    """

    def __init__(self, send: Send, outbox: Outbox, limit: int, give_up: GiveUp) -> None:
        self._send = send
        self._outbox = outbox
        self._limit = limit
        self._give_up = give_up
        self._collected: list[Chunk | PreparedFrame] = []
        self._queue: deque[PreparedFrame] = deque()
        self._unsent = 0
        self._peak = 0
        self._held = True
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, frame: PreparedFrame) -> None:
        """Send `frame` at the end of this tick; does nothing once the socket is closing."""
        if self._outbox.frames:
            self._outbox.settle()  # what was sent to rooms before comes before
        self.collect(frame)

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, after what was collected before."""
        if not self._collected:
            self._outbox.add(self)
        self._collected.append(chunk)

    take = collect

    def flush(self) -> None:
        """Queue what was collected."""
        collected, self._collected = self._collected, []
        self._enqueue(_frames(collected))

    def look(self, now: float) -> bool:
        """Nothing to look at: the queue looks after itself."""
        return False

    def _enqueue(self, frames: list[PreparedFrame]) -> None:
        if self._ended or self._closing is not None:
            return
        for frame in frames:
            self._queue.append(frame)
            self._unsent += len(frame.payload)
        if self._unsent > self._limit:
            self._watch_buffer()
        self._wake()

    def open(self, first: PreparedFrame) -> None:
        """The handshake is done: send `first`, then what was taken before."""
        self._queue.appendleft(first)
        self._unsent += len(first.payload)
        self._held = False
        self._wake()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what was taken; take no more."""
        if self._closing is None:
            self._outbox.settle()
            self.flush()
            self._closing = code, reason
            self._wake()

    def drop(self) -> None:
        """Forget what is unsent, which the peer does not take; only `close` may follow."""
        self._queue.clear()
        self._unsent = 0
        self._ended = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._closing is not None:
            self._wake()

    async def stop(self) -> None:
        """The connection is over: end the task and the timer."""
        self._ended = True
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        # An eager task (Python 3.12) may be done before it is known here.
        if (self._task is None or self._task.done()) and not self._held:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=WRITING)

    async def _drain(self) -> None:
        try:
            while self._queue:
                frame = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": frame.text})
                self._unsent -= len(frame.payload)
            if self._closing is not None and not self._ended:
                self._ended = True
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:  # the peer is gone, in ASGI's words; `receive` tells the rest of us
            self._ended = True
            self._queue.clear()
        except Exception:
            logger.exception("a frame could not be sent")
            self._ended = True
            self._give_up(1011, "the server failed")
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _watch_buffer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._unsent > self._limit * BURST:
            # Soon, not now: a delivery may be walking through the room that this socket leaves.
            self._ended = True
            loop.call_soon(self._give_up, *TOO_SLOW)
        elif self._timer is None:
            self._peak = self._unsent
            self._timer = loop.call_later(SLOW_AFTER, self._look)
        else:
            self._peak = max(self._peak, self._unsent)

    def _look(self) -> None:
        self._timer = None
        if self._ended or self._unsent <= self._limit:
            return
        if self._unsent >= self._peak:
            self._give_up(*TOO_SLOW)
        else:
            self._watch_buffer()


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
