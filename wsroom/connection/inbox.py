"""What the peer sends, read in order; beside a running handler too, so nobody is blind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from wsroom.asgi.types import Message, Receive
from wsroom.tasks import READING, WAITING

SLOT_SIZE = 256 * 1024
FRAME_OVERHEAD = 64


class Inbox:
    """ASGI's `receive` with a small slot for what is read while a handler runs.

    While nobody calls `receive`, uvicorn reads neither pongs nor the peer's close: it would end a
    healthy client with 1011, and a gone one would keep its rooms. Past the slot's bound (256 KiB,
    each frame counted with 64 bytes more) reading stops, which is the backpressure. It is more than
    uvicorn queues of one read, so what it has queued never hides the peer's end.
    """

    __slots__ = ("_beside", "_reader", "_receive", "_size", "_slot", "idle")

    def __init__(self, receive: Receive) -> None:
        self.idle = True  # nothing is or was read beside: `receive` itself may be called
        self._receive = receive
        self._slot: deque[Message] | None = None  # an empty one takes 600 bytes
        self._size = 0
        self._reader: asyncio.Task[None] | None = None
        self._beside = False

    async def next(self) -> Message:
        """Return the next ASGI message."""
        self._beside = False
        if not self._slot:
            if self._reader is None:
                return await self._receive()
            self._reader.set_name(WAITING)
            # One `receive` is under way there. Cancelling it could lose a message on some
            # servers, so its result is waited for.
            await asyncio.wait([self._reader])
            self._reader.result()
        assert self._slot
        message = self._slot.popleft()
        self._size -= _size(message)
        self._forget_reader()
        self.idle = not self._slot and self._reader is None
        return message

    def _forget_reader(self) -> None:
        # One that failed is kept: `next` raises its exception once the slot is empty.
        if self._reader is not None and self._reader.done() and self._reader.exception() is None:
            self._reader = None

    def read_beside(self, gone: Callable[[int], None]) -> None:
        """Read into the slot until the next call of `next`; tell `gone` the code of the end."""
        self._beside = True
        self.idle = False
        if self._slot and self._slot[-1]["type"] == "websocket.disconnect":
            gone(close_code(self._slot[-1]))
            return
        self._forget_reader()
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = loop.create_task(self._fill(gone), name=READING)
        self._reader.set_name(READING)

    async def _fill(self, gone: Callable[[int], None]) -> None:
        if self._slot is None:
            self._slot = deque()
        while self._size < SLOT_SIZE:
            message = await self._receive()
            self._slot.append(message)
            self._size += _size(message)
            if message["type"] == "websocket.disconnect":
                if self._beside:
                    gone(close_code(message))
                return
            if not self._beside:
                return

    def stop(self) -> None:
        """End the reading."""
        if self._reader is not None:
            self._reader.cancel()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "") + FRAME_OVERHEAD


def close_code(message: Message) -> int:
    """The code in a `websocket.disconnect`; 1005 where there is none (RFC 6455, section 7.1.5)."""
    return message.get("code") or 1005


class TokenBucket:
    """Allow `burst` at once and `rate` a second after that (a token bucket)."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one token at time `now` (seconds, any origin); False where none is left."""
        grown = self._tokens + (now - self._updated) * self._rate
        self._tokens = min(self._burst, grown)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
