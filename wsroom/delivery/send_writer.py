"""A writer that uses ASGI's `send`, which every server has."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from wsroom.asgi.types import Send
from wsroom.delivery.frames import Chunk, PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.writer import (
    FLOOD_FACTOR,
    TOO_SLOW,
    VOLATILE_LIMIT,
    WriteFailureHandler,
    Writer,
    frames_of,
)
from wsroom.tasks import WRITING

logger = logging.getLogger("wsroom")


class SendWriter(Writer):
    """Writes through ASGI's `send`, in order, from a task that lives while frames are queued.

    Frames written before `open` are held, so that the first frame is the first. The connection
    is given up if it has more unsent bytes than the outbox's limit and they do not shrink between
    two checks, or if it has over 16 times that many.
    """

    def __init__(
        self,
        id: str,
        path: str,
        send: Send,
        outbox: Outbox,
        connection: WriteFailureHandler,
    ) -> None:
        super().__init__(id, path)
        self._send = send
        self._outbox = outbox
        self._connection = connection
        self._collected: list[Chunk | PreparedFrame] = []
        self._queue: deque[PreparedFrame] = deque()
        self._unsent = 0
        self._peak = 0  # the most unsent since a check found more than the limit, else 0
        self._sent = 0  # bytes since the last check
        self._held = True
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    @property
    def unsent(self) -> int:
        """The bytes that the server has not accepted yet, without those collected in this tick."""
        return self._unsent

    @property
    def ended(self) -> bool:
        return self._ended or self._closing is not None

    def write(self, frame: PreparedFrame) -> None:
        """Send `frame` at the end of this tick; does nothing once the socket is closing."""
        if self._outbox.frames:
            self._outbox.distribute()  # frames that were sent to rooms before come first
        self._outbox.count(frame)
        self.collect(frame)

    def collect(self, chunk: Chunk | PreparedFrame) -> None:
        """Send `chunk` at the end of this tick, after those collected before."""
        if chunk.volatile and self._unsent > VOLATILE_LIMIT:
            lasting = chunk.lasting()
            if lasting is None:
                return
            chunk = lasting
        if not self._collected:
            self._outbox.flush_later(self)
        self._collected.append(chunk)

    def flush(self) -> int:
        """Queue what was collected; returns its size in bytes."""
        collected, self._collected = self._collected, []
        if self.ended:
            return 0
        frames = frames_of(collected)
        size = sum([len(frame.payload) for frame in frames])
        self._queue += frames
        self._unsent += size
        if self._peak:
            self._peak = max(self._peak, self._unsent)
        self._wake()
        return size

    def check_unsent(self, now: float) -> bool:
        """Give the connection up if it is slow; returns whether to check again."""
        if self._ended:
            return False
        limit = self._outbox.limit
        peak, self._peak = self._peak, self._unsent if self._unsent > limit else 0
        sent, self._sent = self._sent, 0
        # A replay fills up again what was sent: then as much is unsent as before.
        if peak and self._unsent >= peak and sent < limit:
            self._connection.give_up(*TOO_SLOW)
            return False
        return self._unsent > 0

    def check_flood(self) -> None:
        """Give the connection up if over 16 times the limit is unsent."""
        if not self._ended and self._unsent > self._outbox.limit * FLOOD_FACTOR:
            self.give_up_soon()

    def give_up_soon(self) -> None:
        # Not now: the outbox may be walking through the room that this socket leaves.
        self._ended = True
        asyncio.get_running_loop().call_soon(self._connection.give_up, *TOO_SLOW)

    def open(self, first: PreparedFrame) -> None:
        """Send `first`, then what was written before; called when the handshake is done."""
        self._queue.appendleft(first)
        self._unsent += len(first.payload)
        self._outbox.count(first)
        self._held = False
        self._wake()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after the frames written before; later ones are ignored."""
        if self._closing is None:
            self._outbox.distribute()
            self.flush()
            self._closing = code, reason
            self._wake()

    def drop(self) -> None:
        """Drop unsent frames, which the peer does not read; only `close` may follow."""
        self._queue.clear()
        self._unsent = 0
        self._ended = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._closing is not None:
            self._wake()

    async def stop(self) -> None:
        """End the task; called when the connection is over."""
        self._ended = True
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        # An eager task (Python 3.12) may be done before `create_task` returns.
        if (self._task is None or self._task.done()) and not self._held:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name=WRITING)

    async def _drain(self) -> None:
        try:
            while self._queue:
                frame = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": frame.text()})
                self._unsent -= len(frame.payload)
                self._sent += len(frame.payload)
            if self._closing is not None and not self._ended:
                self._ended = True
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:  # ASGI: the peer has gone; `receive` reports it to the connection
            self._ended = True
            self._queue.clear()
        except Exception:
            logger.exception("a frame could not be sent")
            self._ended = True
            self._connection.give_up(1011, "the server failed")
        finally:
            if self._task is asyncio.current_task():
                self._task = None
