"""How bytes leave: a queue for each socket that never makes anybody wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from wsroom.asgi import Send
from wsroom.frames import PreparedFrame

logger = logging.getLogger("wsroom")

WRITING = "wsroom: writes to a socket"

SLOW_AFTER = 1.0
# Between two looks at a socket that is over its limit nothing else bounds what a flood adds.
BURST = 16


class SendWriter:
    """Writes through ASGI's `send`, in order, from a task that lives while there is something.

    Frames written before `open` are held, so that the first frame is the first. Over `limit`
    bytes unsent and not shrinking for a second, or over 16 times that, it calls `slow`.
    """

    def __init__(self, send: Send, limit: int, slow: Callable[[], None]) -> None:
        self._send = send
        self._limit = limit
        self._slow = slow
        self._queue: deque[PreparedFrame] = deque()
        self._unsent = 0
        self._peak = 0
        self._held = True
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, frame: PreparedFrame) -> None:
        """Queue `frame`; never waits, and does nothing once the socket is closing."""
        if self._ended or self._closing is not None:
            return
        self._queue.append(frame)
        self._unsent += len(frame.payload)
        if self._unsent > self._limit:
            self._watch_buffer()
        self._wake()

    def open(self, first: PreparedFrame) -> None:
        """Send `first`, then what was held."""
        self._queue.appendleft(first)
        self._unsent += len(first.payload)
        self._held = False
        self._wake()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what is queued; take no more frames."""
        if self._closing is None:
            self._closing = code, reason
            self._wake()

    def drop(self) -> None:
        """Forget what is queued, which the peer does not take; only `close` may follow."""
        self._queue.clear()
        self._unsent = 0
        self._ended = False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def stop(self) -> None:
        """End the task and the timer; whatever is queued then is not sent."""
        self._ended = True
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        if self._task is None and not self._held:
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
        except Exception:
            # The peer is gone; servers say so each with an exception of their own, and `receive`
            # tells the rest of us.
            logger.debug("a frame could not be sent", exc_info=True)
            self._ended = True
            self._queue.clear()
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _watch_buffer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._unsent > self._limit * BURST:
            # Soon, not now: a delivery may be walking through the room that this socket leaves.
            self._ended = True
            loop.call_soon(self._slow)
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
            self._slow()
        else:
            self._watch_buffer()
