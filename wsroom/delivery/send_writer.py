"""Writing through ASGI's `send`, which every server has."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from wsroom.asgi.types import Send
from wsroom.delivery.frames import Chunk, PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.writer import BURST, TOO_SLOW, Owner, frames_of
from wsroom.tasks import WRITING

logger = logging.getLogger("wsroom")

SLOW_AFTER = 1.0
"""Seconds in which a queue over its limit must have shrunk."""


class SendWriter:
    """Writes through ASGI's `send`, in order, from a task that lives while there is something.

    Frames written before `open` are held, so that the first frame is the first. Over `limit`
    bytes unsent and not shrinking for a second, or over 16 times that, its owner is to
    give it up.
    """

    straight = None
    packs = False

    def __init__(
        self, id: str, path: str, send: Send, outbox: Outbox, limit: int, owner: Owner
    ) -> None:
        self.id = id
        self.path = path
        self._send = send
        self._outbox = outbox
        self._limit = limit
        self._owner = owner
        self._collected: list[Chunk | PreparedFrame] = []
        self._queue: deque[PreparedFrame] = deque()
        self._unsent = 0
        self._peak = 0
        self._held = True
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unsent(self) -> int:
        """Bytes that the server has not taken yet, without what this tick has collected."""
        return self._unsent

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

    def flush(self) -> int:
        """Queue what was collected; its size is no concern of the outbox's."""
        collected, self._collected = self._collected, []
        self._enqueue(frames_of(collected))
        return 0

    def look(self, now: float) -> bool:
        """Nothing to look at: the queue looks after itself."""
        return False

    def check(self) -> None:
        """The same."""

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
                await self._send({"type": "websocket.send", "text": frame.text()})
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
            self._owner.give_up(1011, "the server failed")
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _watch_buffer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._unsent > self._limit * BURST:
            # Soon, not now: a delivery may be walking through the room that this socket leaves.
            self._ended = True
            loop.call_soon(self._owner.give_up, *TOO_SLOW)
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
            self._owner.give_up(*TOO_SLOW)
        else:
            self._watch_buffer()
