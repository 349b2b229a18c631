"""A client's frames on their way to the server, and the answers that are waited for."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Any

from wsroom.errors import ConnectionLost, RequestError
from wsroom.wire.protocol import encode_inbound

Answer = asyncio.Future[Any]


class OutFrame:
    """One frame; `answer` is what a request waits for, None where nobody does."""

    __slots__ = ("answer", "event", "id", "text")

    def __init__(self, event: str, message: Any, id: int | None, answer: Answer | None) -> None:
        self.event = event
        self.id = id
        self.answer = answer
        self.text = encode_inbound(event, message, id).decode()

    def fail(self, exc: Exception) -> None:
        """Let the request raise."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc)


class Outgoing:
    """A bounded queue for the time without a connection, and the frames that want an answer."""

    def __init__(self, most: int) -> None:
        self.queue: deque[OutFrame] = deque()
        self.dropped = 0
        self._most = most
        self._unanswered: dict[int, OutFrame] = {}
        self._ids = itertools.count(1)

    def request(self, event: str, message: Any) -> OutFrame:
        """Make a frame that wants an answer."""
        answer: Answer = asyncio.get_running_loop().create_future()
        return OutFrame(event, message, next(self._ids), answer)

    def keep(self, frame: OutFrame) -> None:
        """Keep a frame until there is a connection; the oldest goes where there are too many."""
        self.queue.append(frame)
        if len(self.queue) > self._most:
            self.dropped += 1
            self.queue.popleft().fail(
                ConnectionLost(1006, f"never sent: {self._most} newer frames wait already")
            )

    def sent(self, frame: OutFrame) -> None:
        """Note, as it leaves, that a frame wants an answer."""
        if frame.id is not None:
            self._unanswered[frame.id] = frame

    def answered(self, id: object) -> OutFrame | None:
        """Take the frame that an answer is for; None where nobody waits any more."""
        return self._unanswered.pop(id, None) if isinstance(id, int) else None

    def forget(self, frame: OutFrame) -> None:
        """Nobody waits for this answer any more, and what has not been sent never is."""
        if frame in self.queue:
            self.queue.remove(frame)
        if frame.answer is not None and not frame.answer.cancel() and not frame.answer.cancelled():
            frame.answer.exception()  # it has been seen, or nobody is there to see it

    def refused(self, exc: RequestError) -> None:
        """Let what was sent raise; the server could not read of which frame it speaks."""
        frames = [*self._unanswered.values()]
        self._unanswered.clear()
        for frame in frames:
            frame.fail(exc)

    def lost(self, exc: ConnectionLost, *, final: bool) -> None:
        """Let every request raise that was under way; where it is `final`, the waiting ones too."""
        frames = [*self._unanswered.values(), *(self.queue if final else ())]
        self._unanswered.clear()
        if final:
            self.dropped += len(self.queue)
            self.queue.clear()
        for frame in frames:
            frame.fail(exc)
