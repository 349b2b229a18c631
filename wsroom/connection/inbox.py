"""Reads what the peer sends, in order; also while a handler runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from wsroom.asgi.types import Message, Receive
from wsroom.direct.eager import Started
from wsroom.stats import Counters
from wsroom.tasks import READING, WAITING
from wsroom.wire.protocol import Inbound

SLOT_SIZE = 256 * 1024
FRAME_OVERHEAD = 64


class Source(Protocol):
    """Where a connection's frames come from, in order: the text of each, or bytes if it is binary.

    It has a bound, beyond which nothing is read from the peer.
    """

    close_code: int
    """The code with which the peer disconnected, once `wait` has returned None."""

    @property
    def idle(self) -> bool:
        """Whether no frame waits."""

    def take(self) -> str | bytes | None:
        """Return the next frame if it waits, else None: then call `wait`."""

    async def wait(self) -> str | bytes | Started[Inbound | None] | None:
        """Return the next frame, or the rest of its handling if that has begun.

        The rest of nothing means that the next frame must wait.
        Returns None once the peer has disconnected.
        """

    def read_beside(self, on_disconnect: Callable[[int], None]) -> None:
        """Call `on_disconnect` with the close code, unless a frame is taken before."""

    def stop(self) -> None:
        """Stop reading."""


class Inbox:
    """The source for every server: ASGI's `receive`, with a slot for frames read beside a handler.

    If the app does not call `receive`, uvicorn reads neither pongs nor the peer's close: it would
    end a healthy client with 1011, and a disconnected one would keep its rooms. If the slot is full
    (256 KiB, each frame counted with 64 bytes more) reading stops, which is the backpressure. The
    slot holds more than uvicorn queues of one read, so queued frames never hide the disconnect.
    """

    __slots__ = (
        *("_beside", "_counters", "_reader", "_receive", "_size", "_slot"),
        *("close_code", "idle"),
    )

    def __init__(self, receive: Receive, counters: Counters) -> None:
        self._counters = counters
        self.close_code = 1006
        self.idle = True
        """Whether the slot is empty and nothing is being read: `receive` itself may be called."""
        self._receive = receive
        self._slot: deque[Message] | None = None  # an empty deque takes 600 bytes
        self._size = 0
        self._reader: asyncio.Task[None] | None = None
        self._beside = False

    def take(self) -> None:
        """Return None: frames are taken by `wait`."""

    async def wait(self) -> str | bytes | None:
        """Return the next frame; None once the peer has disconnected."""
        message = await (self._receive() if self.idle else self.next())
        if message["type"] == "websocket.disconnect":
            self.close_code = close_code(message)
            return None
        text: str | None = message.get("text")
        if text is None:
            data: bytes = message.get("bytes") or b""
            self._counters.bytes_in += len(data)
            return data
        self._counters.bytes_in += (
            len(text) if text.isascii() else len(text.encode(errors="replace"))
        )
        return text

    async def next(self) -> Message:
        """Return the next ASGI message."""
        self._beside = False
        if not self._slot:
            if self._reader is None:
                return await self._receive()
            self._reader.set_name(WAITING)
            # It is waiting in `receive`. Cancelling that could lose a message on some servers,
            # so its result becomes the next message.
            await asyncio.wait([self._reader])
            self._reader.result()
        assert self._slot
        message = self._slot.popleft()
        self._size -= _size(message)
        self._forget_reader()
        self.idle = not self._slot and self._reader is None
        return message

    def _forget_reader(self) -> None:
        # A failed reader is kept: `next` raises its exception once the slot is empty.
        if self._reader is not None and self._reader.done() and self._reader.exception() is None:
            self._reader = None

    def read_beside(self, on_disconnect: Callable[[int], None]) -> None:
        """Read into the slot until `next` is called; call `on_disconnect` with the close code."""
        self._beside = True
        self.idle = False
        if self._slot and self._slot[-1]["type"] == "websocket.disconnect":
            on_disconnect(close_code(self._slot[-1]))
            return
        self._forget_reader()
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = loop.create_task(self._fill(on_disconnect), name=READING)
        self._reader.set_name(READING)

    async def _fill(self, on_disconnect: Callable[[int], None]) -> None:
        if self._slot is None:
            self._slot = deque()
        while self._size < SLOT_SIZE:
            message = await self._receive()
            self._slot.append(message)
            self._size += _size(message)
            if message["type"] == "websocket.disconnect":
                if self._beside:
                    on_disconnect(close_code(message))
                return
            if not self._beside:
                return

    def stop(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "") + FRAME_OVERHEAD


def close_code(message: Message) -> int:
    """Return the code of a `websocket.disconnect`; 1005 if it has none (RFC 6455, 7.1.5)."""
    return message.get("code") or 1005


class TokenBucket:
    """A token bucket: allows `burst` at once, and then `rate` a second."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one token at time `now` (seconds, any origin); return False if none is left."""
        grown = self._tokens + (now - self._updated) * self._rate
        self._tokens = min(self._burst, grown)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
