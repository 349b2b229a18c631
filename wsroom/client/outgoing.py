"""A client's frames to the server, and the answers that its requests wait for."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any

from wsroom.errors import ConnectionLost, RequestError
from wsroom.wire.protocol import encode_inbound, frame_size_error

Answer = asyncio.Future[Any]


class OutFrame:
    """One frame; `answer` is what its request waits for, None for an emit."""

    __slots__ = ("answer", "event", "id", "size", "text")

    def __init__(self, event: str, message: Any, id: int | None, answer: Answer | None) -> None:
        self.event = event
        self.id = id
        self.answer = answer
        payload = encode_inbound(event, message, id)
        self.size = len(payload)
        self.text = payload.decode()

    def fail(self, exc: Exception) -> None:
        """Let the request raise `exc`."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc)


class Outgoing:
    """A bounded queue of frames that wait for a connection, and the unanswered requests."""

    def __init__(self, most: int, dropped: int = 0) -> None:
        self.queue: deque[OutFrame] = deque()
        self.dropped = dropped
        self.frame_size: int | None = None
        """The bytes that the server accepts in one frame; None if it has not said so."""
        self._most = most
        self._unanswered: dict[int, OutFrame] = {}
        self._ids = itertools.count(1)

    def request(self, event: str, message: Any) -> OutFrame:
        """Make a frame that asks for an answer."""
        answer: Answer = asyncio.get_running_loop().create_future()
        return OutFrame(event, message, next(self._ids), answer)

    def check_size(self, frame: OutFrame) -> None:
        """Raise the RequestError that the server would answer to a frame that is too large."""
        if self.frame_size is not None and frame.size > self.frame_size:
            raise RequestError("too_large", frame_size_error(self.frame_size), frame.event)

    def enqueue(self, frame: OutFrame) -> None:
        """Keep a frame until there is a connection; if too many wait, drop the oldest."""
        self.queue.append(frame)
        if len(self.queue) > self._most:
            self.dropped += 1
            self.queue.popleft().fail(
                ConnectionLost(1006, f"never sent: {self._most} newer frames wait already")
            )

    def sending(self, frame: OutFrame) -> None:
        """Expect the answer to a frame that is being sent, if it asks for one."""
        if frame.id is not None:
            self._unanswered[frame.id] = frame

    def pop_answered(self, id: object) -> OutFrame | None:
        """Return the frame that the answer with this id is for; None if nothing waits for it."""
        return self._unanswered.pop(id, None) if isinstance(id, int) else None

    def give_up(self, frame: OutFrame) -> None:
        """Stop waiting for an answer; a frame that has not been sent never is."""
        if frame in self.queue:
            self.queue.remove(frame)
        if frame.answer is not None and not frame.answer.cancel() and not frame.answer.cancelled():
            frame.answer.exception()  # retrieved, so that asyncio does not report it

    def disconnected(self, exc: ConnectionLost, *, final: bool) -> None:
        """Let every request raise that was sent; if `final`, those that wait, too."""
        frames = [*self._unanswered.values(), *(self.queue if final else ())]
        self._unanswered.clear()
        if final:
            self.dropped += len(self.queue)
            self.queue.clear()
        for frame in frames:
            frame.fail(exc)
