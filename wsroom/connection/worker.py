"""The part of a running app that one process has: its hub, its threads, its watch."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any, Protocol

from wsroom.adapters.base import Adapter
from wsroom.adapters.presence import PresenceAdapter
from wsroom.api.blocking import Threads
from wsroom.asgi.admission import Admission
from wsroom.asgi.types import Receive, Send
from wsroom.connection.moderation import Moderation
from wsroom.connection.supervisor import Watch
from wsroom.delivery.hub import Hub
from wsroom.delivery.send_writer import SendWriter
from wsroom.delivery.writer import WriteFailureHandler, Writer
from wsroom.direct.equivalence import difference
from wsroom.direct.keepalive import Keepalive
from wsroom.direct.link import Link
from wsroom.direct.server import misfit, pings
from wsroom.direct.transport_writer import TransportWriter
from wsroom.limits import Limits
from wsroom.logs import LogOnce, about
from wsroom.presence.presence import Presence
from wsroom.rates import Rate, Usage
from wsroom.routing.callbacks import Callback
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.encoding import JsonDefault, to_json

logger = logging.getLogger("wsroom")

LOG_UNAVAILABLE_EVERY = 60.0
"""Seconds between two log lines about an unavailable broker."""

MOST_PATHS = 10_000
"""Paths without a guard that the log names, each once."""


class Ending(Protocol):
    """A connection, as far as the end of the worker needs it."""

    def end_soon(self) -> None:
        """Close it, once none of its handlers runs."""

    def end(self) -> None:
        """Close it now."""


class Worker:
    """The state that the connections of one process share."""

    def __init__(
        self,
        adapter: Adapter,
        limits: Limits,
        debug: bool,
        direct: bool,
        deflate_context: bool = False,
        timing: Timing = DEFAULT_TIMING,
        json_default: JsonDefault = to_json,
    ) -> None:
        self.limits = limits
        self.timing = timing
        self.debug = debug
        self.hub = Hub(adapter, limits, timing, json_default)
        self.moderation = Moderation(self.hub)
        self.presence = (
            Presence(self.hub, adapter, limits, timing)
            if isinstance(adapter, PresenceAdapter)
            else None
        )
        """The presence of its sockets; None if the adapter has none."""
        self.threads = Threads(timing)
        self.admission = Admission(limits)
        self.frames = Rate.of(limits.frames, limits.burst)
        """How many frames a socket may send."""
        self.joins = Rate.of(limits.joins, limits.rooms_per_socket)
        """How often a client may join a room."""
        self.usage = Usage()
        """What has been used of the rates of handlers that have a key."""
        self.connections: dict[asyncio.Task[Any], Ending] = {}
        """The tasks of the connections that are open, or whose last hooks are running."""
        self.watch = Watch(min(timing.read_beside_after, limits.handler_timeout))
        self._direct = direct
        self._deflate_context = deflate_context
        self._self_tests: dict[Any, asyncio.Task[str | None]] = {}  # by the server's configuration
        self._keepalives: dict[tuple[float, float | None], Keepalive] = {}
        self._indirect = LogOnce()
        self._reading = LogOnce()
        self._unguarded = LogOnce(most=MOST_PATHS)
        self._undeclared = LogOnce()
        self._unavailable = LogOnce(again_after=LOG_UNAVAILABLE_EVERY)

    async def start(self) -> None:
        """Start the hub, if it is not running; called before anything is served or emitted."""
        await self.hub.start()

    async def end_connections(self, seconds: float) -> None:
        """Accept no more connections, and close the open ones one by one within `seconds`."""
        self.admission.draining = True
        loop = asyncio.get_running_loop()
        begin, connections = loop.time(), list(self.connections.values())
        for index, connection in enumerate(connections):
            await asyncio.sleep(begin + seconds * index / len(connections) - loop.time())
            connection.end_soon()
        await self.drain()
        for connection in self.connections.values():
            connection.end()
        await self.drain()

    async def drain(self) -> None:
        """Wait for the last hooks of the connections, at most for `timing.grace`."""
        if self.connections:
            await asyncio.wait(self.connections, timeout=self.timing.grace)

    async def stop(self) -> None:
        """Stop presence, the hub, the threads, the pings, the watch and the moderation."""
        if self.presence is not None:
            await self.presence.stop()
        self.watch.stop()
        for keepalive in self._keepalives.values():
            keepalive.stop()
        self.threads.stop()
        await self.hub.stop()
        await self.moderation.stop()  # after the hub, which starts what it ends

    async def call(self, callback: Callback, *args: Any, **values: Any) -> Any:
        """Call a user's function: on the loop if it is `async def`, else in a thread."""
        if callback.is_async:
            return await callback.function(*args, **values)
        return await self.threads.run(callback.function, *args, **values)

    async def call_with_limit(self, callback: Callback, *args: Any) -> None:
        """Call a hook within its own time limit, in a thread that handlers cannot occupy."""
        limit = self.limits.handler_timeout
        if callback.is_async:
            async with asyncio.timeout(limit):
                await callback.function(*args)
        else:
            async with self.threads.final_slots, asyncio.timeout(limit):
                await self.threads.run_without_slot(callback.function, *args)

    def make_writer(
        self, id: str, path: str, receive: Receive, send: Send, connection: WriteFailureHandler
    ) -> SendWriter | TransportWriter:
        """Return a writer: to the server's transport if it is known, else through `send`."""
        server = getattr(receive, "__self__", None)
        if self._direct and TransportWriter.supports(server):
            return TransportWriter(id, path, server, send, self.hub.outbox, connection)
        if self._direct and self._indirect.due():
            logger.info("frames go through ASGI's send: this server's transport is not known")
        return SendWriter(id, path, send, self.hub.outbox, connection)

    async def make_link(self, receive: Receive, writer: Writer) -> Link | None:
        """Return a link that reads the frames of a connection; None if its server is not known."""
        if not isinstance(writer, TransportWriter):
            return None
        server: Any = getattr(receive, "__self__", None)
        reason = misfit(server)
        if reason is None:
            test = self._self_tests.get(server.config)
            if test is not None and test.done():
                reason = test.result()
            else:  # the client may send something meanwhile
                reason = await self._self_test(server) or misfit(server)
        if self._reading.due():
            how = f"come through ASGI's receive: {reason}" if reason else "are read from uvicorn"
            logger.info("frames %s", how)
        if reason is not None:
            return None
        keepalive = self._keepalive(pings(server))
        return Link(
            server,
            self.limits.frame_size,
            writer.note_pongs,
            keepalive,
            self._deflate_context,
            self.hub.counters,
        )

    async def _self_test(self, server: Any) -> str | None:
        # One app may run in several servers.
        test = self._self_tests.get(server.config)
        if test is None:
            test = asyncio.get_running_loop().create_task(difference(server))
            self._self_tests[server.config] = test
        return await asyncio.shield(test)

    def _keepalive(self, times: tuple[float, float | None] | None) -> Keepalive | None:
        if times is None:
            return None
        if times not in self._keepalives:
            self._keepalives[times] = Keepalive(*times)
        return self._keepalives[times]

    def describe_error(self, exc: BaseException) -> str:
        """Return what a client may know of an exception: its text in debug mode only."""
        if not self.debug:
            return "the server failed; the reason is in its log"
        return "".join(traceback.format_exception_only(exc)).strip()

    def log_unavailable(self, what: str, exc: BaseException, extra: dict[str, str]) -> None:
        """Log that the broker is unavailable, at most once a minute: every frame may fail."""
        if self._unavailable.due(now=asyncio.get_running_loop().time()):
            logger.warning("%s failed and was answered `unavailable`: %s", what, exc, extra=extra)

    def log_undeclared(self, path: str, event: str, code: str) -> None:
        """Log once that a handler rejects with a code that it does not declare."""
        if self._undeclared.due((path, event, code)):
            logger.warning(
                "the handler of %r on %s rejects with %r, which its raises= does not have",
                event,
                path,
                code,
                extra=about(path=path, event=event),
            )

    def log_unguarded(self, path: str) -> None:
        """Log once for each path that clients may join any room on it."""
        if self._unguarded.due(path):
            logger.warning(
                "any client may join any room on %s; decide with @app.on_join(path=%r)",
                path,
                path,
                extra=about(path=path),
            )
