"""The frames of one connection, on their way from its link to its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from wsroom.direct.eager import Started
from wsroom.direct.waiter import Waiter

QUEUE_SIZE = 256 * 1024
"""Bytes of frames that may wait; beyond that, nothing is read from the client."""
FRAME_OVERHEAD = 64


class FrameQueue(ABC):
    """The part of a link that the connection knows: its source of frames, like `Inbox`.

    If the task waits for a frame, `begin` is called with it at once. Otherwise the frame is queued.
    It must be made in the task of the connection.
    """

    __slots__ = (
        "_dropping",
        "_ended",
        "_frames",
        "_on_disconnect",
        "_size",
        "_waiter",
        "begin",
        "close_code",
    )

    def __init__(self) -> None:
        self.begin: Callable[[str | bytes], Started[Any] | None] | None = None
        """Begins to handle a frame, and returns the rest if it has to wait."""
        self.close_code = 1006
        self._frames: deque[str | bytes] | None = None  # an empty deque takes 600 bytes
        self._size = 0  # bytes that came since no frame waited
        self._ended = False  # the peer has disconnected, or we have closed
        self._dropping = False  # no frame is handled any more
        self._waiter = Waiter()
        self._on_disconnect: Callable[[int], None] | None = None

    @abstractmethod
    def _pause(self) -> None:
        """Read nothing more from the client."""

    @abstractmethod
    def _unpause(self) -> None:
        """Read again, if reading pauses."""

    @property
    def idle(self) -> bool:
        """Whether no frame waits."""
        return not self._frames

    def take(self) -> str | bytes | None:
        """Return the next frame if it waits."""
        self._on_disconnect = None
        return self._frames.popleft() if self._frames else None

    async def wait(self) -> str | bytes | Started[Any] | None:
        """Return the next frame, or the rest of its handling; None once the peer is gone."""
        while (frame := self.take()) is None:
            if self._ended:
                return None
            self._frames = None
            self._size = 0
            self._unpause()
            started = await self._waiter
            if started is not None:
                return started
        return frame

    def read_beside(self, on_disconnect: Callable[[int], None]) -> None:
        """Call `on_disconnect` with the close code, unless a frame is taken before."""
        self._on_disconnect = on_disconnect
        if self._ended:
            on_disconnect(self.close_code)

    def stop(self) -> None:
        """Handle no more frames; what the close needs is still read."""
        self._drop()
        self._unpause()

    def _drop(self) -> None:
        self._dropping = True
        self._frames = self.begin = None

    def _end(self, code: int, drop: bool) -> None:
        self._ended = True
        self.close_code = code
        if drop:
            self._drop()
        self._waiter.wake()
        if self._on_disconnect is not None:
            self._on_disconnect(code)

    def _deliver(self, frame: str | bytes) -> None:
        if self._dropping or self._ended:
            return
        waiter = self._waiter
        # A task that waits has no frame in the queue: nothing is overtaken.
        if waiter.waiting and self.begin is not None and waiter.start(self.begin, frame):
            return
        if self._frames is None:
            self._frames = deque()
        self._frames.append(frame)
        self._size += len(frame) + FRAME_OVERHEAD
        if self._size > QUEUE_SIZE:
            self._pause()
        waiter.wake()
