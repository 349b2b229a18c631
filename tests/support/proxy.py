"""A TCP proxy whose target can be changed, and whose data can be dropped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.clock import SECOND


class Proxy:
    """Forwards connections to a local port."""

    def __init__(self, target: int) -> None:
        self.target = target
        """The port that new connections lead to."""
        self.dropping = False
        """Whether all data is dropped, while the connections stay open."""
        self.dropping_answers = False
        """Whether what the target sends is dropped, while the connections stay open."""
        self._forwarding: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[int]:
        """Forward connections during the body; yields the proxy's own port."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await asyncio.sleep(0)  # a connection that was just accepted becomes a task
            for task in self._forwarding:
                task.cancel()
            if self._forwarding:
                await asyncio.wait(self._forwarding, timeout=10 * SECOND)

    def cut(self) -> None:
        """Close all connections; new ones are forwarded."""
        for task in self._forwarding:
            task.cancel()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._forwarding.add(task)
        ends = [writer]
        try:
            # The target may refuse, and the proxy may end while it connects.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection("127.0.0.1", self.target)
                ends.append(back)
                await asyncio.gather(
                    self._copy(reader, back), self._copy(there, writer, answers=True)
                )
        finally:
            for end in ends:
                end.close()
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        try:
            while data := await source.read(65536):
                if not (self.dropping or (answers and self.dropping_answers)):
                    target.write(data)
        finally:
            target.close()
