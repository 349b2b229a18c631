"""This process' share of a running app: its hub, its threads, its watch."""

from __future__ import annotations

import asyncio
import logging
import traceback
from math import inf
from typing import Any

from wsroom.adapters.base import Adapter
from wsroom.api.blocking import Threads
from wsroom.asgi.types import Receive, Send
from wsroom.connection.supervisor import Watch
from wsroom.delivery.hub import Hub
from wsroom.delivery.send_writer import SendWriter
from wsroom.delivery.transport_writer import TransportWriter
from wsroom.delivery.writer import WriteFailureHandler
from wsroom.limits import Limits
from wsroom.routing.callbacks import Callback
from wsroom.timing import DEFAULT_TIMING, Timing

logger = logging.getLogger("wsroom")

SAY_EVERY = 60.0
"""Seconds between two lines of the log about a broker that is away."""


class Worker:
    """What the connections of one process share."""

    def __init__(
        self,
        adapter: Adapter,
        limits: Limits,
        debug: bool,
        direct: bool,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.limits = limits
        self.timing = timing
        self.debug = debug
        self.hub = Hub(adapter, limits)
        self.threads = Threads()
        self.connections: set[asyncio.Task[Any]] = set()
        """The tasks of the connections that are open, or not done with their last hooks."""
        self.watch = Watch(min(timing.read_beside_after, limits.handler_timeout))
        self._direct = direct
        self._said_indirect = False
        self._said_open: set[str] = set()
        self._said_away = -inf

    async def start(self) -> None:
        """Start the hub, once; called before anything is served or emitted."""
        await self.hub.start()

    async def drain(self) -> None:
        """Wait for the last hooks of the connections, for as long as their grace."""
        if self.connections:
            await asyncio.wait(self.connections, timeout=self.timing.grace)

    async def stop(self) -> None:
        """End everything that `start` and the connections began."""
        self.watch.stop()
        self.threads.stop()
        await self.hub.stop()

    async def call(self, callback: Callback, *args: Any, **values: Any) -> Any:
        """Call a user's function: on the loop where it is `async def`, else in a thread."""
        if callback.is_async:
            return await callback.function(*args, **values)
        return await self.threads.run(callback.function, *args, **values)

    async def call_last(self, callback: Callback, *args: Any) -> None:
        """Call a hook that must run whatever else does, with a budget of its own."""
        budget = self.limits.handler_timeout
        if callback.is_async:
            async with asyncio.timeout(budget):
                await callback.function(*args)
        else:
            async with self.threads.last_slots, asyncio.timeout(budget):
                await self.threads.run_beside(callback.function, *args)

    def writer(
        self, id: str, path: str, receive: Receive, send: Send, owner: WriteFailureHandler
    ) -> SendWriter | TransportWriter:
        """Choose the way to a peer: straight to the server's transport where that is known."""
        server = getattr(receive, "__self__", None)
        if self._direct and TransportWriter.fits(server):
            return TransportWriter(
                id, path, server, send, self.hub.outbox, self.limits.write_buffer, owner
            )
        if self._direct and not self._said_indirect:
            self._said_indirect = True
            logger.info("frames go through ASGI's send: this server's transport is not known")
        return SendWriter(id, path, send, self.hub.outbox, self.limits.write_buffer, owner)

    def tell(self, exc: BaseException) -> str:
        """What a client may know of an exception: its text only in debug mode."""
        if not self.debug:
            return "the server failed; the reason is in its log"
        return "".join(traceback.format_exception_only(exc)).strip()

    def say_away(self, where: str, exc: BaseException) -> None:
        """Say that the broker is away, once a minute: every frame may fail meanwhile."""
        now = asyncio.get_running_loop().time()
        if now - self._said_away >= SAY_EVERY:
            self._said_away = now
            logger.warning("%s failed, and is answered `unavailable`: %s", where, exc)

    def say_open(self, path: str) -> None:
        """Say once for each path that anybody may join any room on it."""
        if path not in self._said_open:
            self._said_open.add(path)
            logger.warning(
                "any client may join any room on %s; decide with @app.on_join(path=%r)", path, path
            )
