"""WSRoom: the ASGI app, the entry point for sockets, HTTP requests and the lifespan."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from wsroom.adapters import Adapter, MemoryAdapter
from wsroom.adapters.presence import NO_PRESENCE
from wsroom.api.target import Target
from wsroom.asgi.handshake import Headers, Origins, app_path, origins_advice
from wsroom.asgi.lifespan import forward, serve
from wsroom.asgi.responses import refuse
from wsroom.asgi.types import ASGIApp, Receive, Scope, Send, State
from wsroom.asgi.worker_count import TOO_MANY, count_workers
from wsroom.connection.connection import Connection
from wsroom.connection.lifecycle import Lifecycle
from wsroom.connection.worker import Worker
from wsroom.describe import Documentation
from wsroom.errors import AdapterError, SetupError
from wsroom.exporter import Exporter
from wsroom.http_service import LOG_FAILURES_EVERY, HttpService
from wsroom.limits import Limits
from wsroom.logs import LogOnce, about
from wsroom.metrics import read_stats
from wsroom.routing.emit_checks import EmitChecks
from wsroom.routing.router import Router
from wsroom.stats import Stats
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.encoding import JsonDefault, with_default
from wsroom.wire.names import NameChecker

logger = logging.getLogger("wsroom")

_REFUSALS = {404: "path", 403: "origin", 503: "unavailable"}
"""Why a socket is refused before its path's hooks, by the status."""

Lifespan = Callable[["WSRoom"], AbstractAsyncContextManager[Any]]


class WSRoom(Router):
    """A real-time app: handlers of events on paths, with rooms and emitters.

    It is an ASGI 3 app: `uvicorn app:app`, hypercorn, or mounted in Starlette and FastAPI.

    Args:
        adapter: carries messages between workers. A URL: a RedisAdapter with that URL. None: one
            with the environment variable WSROOM_REDIS_URL if it is set, else a MemoryAdapter.
        lifespan: a function of this app that returns an async context manager. It is entered at
            the start, when the app can emit, and left at the stop, while it still can. A mapping
            that it yields is added to ASGI's state.
        origins: other origins ("https://example.com") whose pages may connect; "*" for all.
            Pages of the server's own host and clients that are not browsers always may.
        limits: the limits for each socket.
        http: the ASGI app that serves all other HTTP requests.
        debug: whether clients get the text of exceptions, and what the app sends is checked against
            what it declares.
        direct: whether frames may be read and written at the server's transport if the server is
            known (uvicorn), which is several times faster than ASGI's `receive` and `send`.
        deflate_context: whether clients may deflate messages with the context of earlier ones,
            which makes small ones smaller and takes 11 kB a socket; used if frames are read at the
            transport.
        docs: whether `/asyncapi.json` is served without `debug` too. A mapping: the same, and it is
            merged into the document (`info`, `servers`, `components`, ...).
        json_default: converts values in emitted messages and replies that JSON has no form for; it
            raises TypeError for a value that it does not know. Dataclasses, datetimes, UUIDs and
            enums never reach it; the other types that `Target.emit` names do.
        metrics: whether `GET /metrics` is served for Prometheus, and the time in handlers is
            counted. It needs `wsroom[metrics]`, and with several workers in one host the
            environment variable PROMETHEUS_MULTIPROC_DIR.

    Raises:
        SetupError: an origin or a URL is invalid, an argument is of another type, or metrics need a
            package that is missing.

    """

    def __init__(
        self,
        adapter: Adapter | str | None = None,
        *,
        lifespan: Lifespan | None = None,
        origins: Iterable[str] | None = None,
        limits: Limits | None = None,
        http: ASGIApp | None = None,
        debug: bool = False,
        direct: bool = True,
        deflate_context: bool = False,
        docs: bool | Mapping[str, Any] = False,
        json_default: JsonDefault | None = None,
        metrics: bool = False,
        _timing: Timing = DEFAULT_TIMING,
    ) -> None:
        super().__init__()
        self._routes.measured = metrics
        if limits is not None and not isinstance(limits, Limits):
            raise SetupError(f"limits is {limits!r}; use wsroom.Limits(...)")
        self._limits = limits or Limits()
        self._names = NameChecker(self._limits)
        self._adapter = _adapter_of(adapter)
        default = with_default(json_default)
        self._worker = Worker(
            self._adapter, self._limits, debug, direct, deflate_context, _timing, default
        )
        if debug:
            self._worker.hub.check_emit = EmitChecks(self.find)
        self._worker.hub.has_presence = self._has_presence
        self._origins = Origins(origins)
        self._documentation = Documentation(self, docs, debug)
        self._http_app = http
        self._exporter = Exporter(self.stats) if metrics else None
        self._http = HttpService(
            self,
            self._worker,
            self._documentation,
            self._refuse_several_workers,
            http,
            self._exporter,
        )
        self._user_lifespan = lifespan
        self._workers_checked = False
        self._lifespan_seen = False
        self._refused_origins = LogOnce()
        self._failures = LogOnce(again_after=LOG_FAILURES_EVERY)

    @property
    def adapter(self) -> Adapter:
        """The adapter, which carries messages between workers."""
        return self._adapter

    @property
    def limits(self) -> Limits:
        """The limits for each socket."""
        return self._limits

    @property
    def docs(self) -> Mapping[str, Any]:
        """What was given as `docs`: parts of the AsyncAPI document."""
        return self._documentation.parts

    def to(self, *rooms: str, path: str | None = None) -> Target:
        """Choose the recipients of a message that the app emits, from anywhere in this process.

        Args:
            rooms: names of rooms, or ids of sockets; without any, everybody on the path.
            path: a concrete path ("/t/acme"), without the prefix of a mount.

        Raises:
            SetupError: no route serves the path.
            ValueError: the name of a room is invalid.

        """
        path = self._path if path is None else path
        if "{" in path:
            raise SetupError(f"path {path!r} is a pattern; give a concrete path")
        if self.find(path) is None:
            raise SetupError(f"no route serves {path!r}; register an event or a hook on it first")
        return Target(self._worker.hub, path).to(*rooms)

    def asyncapi(self, *, builtins: bool = True) -> dict[str, Any]:
        """Describe the app as an AsyncAPI 3.1.0 document, as values of JSON.

        Args:
            builtins: whether the events of the protocol itself, such as `joinRoom`, are in it.

        Raises:
            SetupError: a schema is nested too deep, or refers to something that is missing.

        """
        return self._documentation.written(builtins)

    def stats(self) -> Stats:
        """Return what this worker has now, and has counted: plain numbers, which cost little."""
        return read_stats(self._worker, self._routes)

    async def drain(self, seconds: float) -> None:
        """Close the sockets of this worker with 1012, before its server is stopped.

        From now on it refuses sockets with 503, and `/readyz` answers 503. The closes are spread
        over `seconds`, so that other workers do not get all clients at once. A socket is closed
        when none of its handlers runs, or 5 s after the last close. Returns when the last hooks
        have run.
        """
        await self._worker.end_connections(seconds)

    @asynccontextmanager
    async def lifespan(self, app: object = None, state: State | None = None) -> AsyncIterator[None]:
        """Start the app, and stop it at the end: for an outer app, whose mounts get no lifespan.

        Use `FastAPI(lifespan=rt.lifespan)`, or `async with rt.lifespan():` inside a lifespan.
        Without it a mounted app starts with its first connection or emit.

        Raises:
            AdapterError: the broker cannot be reached.

        """
        self._start()
        self._lifespan_seen = True
        state = {} if state is None else state
        try:
            await self._start_worker()
            async with AsyncExitStack() as stack:
                if self._http_app is not None:
                    await stack.enter_async_context(forward(self._http_app, state))
                if self._user_lifespan is not None:
                    given = await stack.enter_async_context(self._user_lifespan(self))
                    state.update(given or {})
                try:
                    yield
                finally:
                    await self._worker.drain()
        finally:
            await self._worker.stop()
            if self._exporter is not None:
                self._exporter.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3: serve a WebSocket, an HTTP request or the server's lifespan."""
        kind = scope["type"]
        if kind == "websocket":
            connection = await self._connection(scope, receive, send)
            if connection is not None:
                await Lifecycle(connection, receive, send).run()
        elif kind == "http":
            self._start_unserved()
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await serve(self._served(scope, receive), receive, send)
        else:
            raise SetupError(f"unknown ASGI scope {kind!r}")

    @asynccontextmanager
    async def _served(self, scope: Scope, receive: Receive) -> AsyncIterator[None]:
        self._check_workers(receive)
        async with self.lifespan(state=scope.get("state")):
            yield

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> Connection | None:
        # The connection leaves when it ends. No coroutine waits for that beside its own: memory.
        self._start_unserved()
        await receive()  # websocket.connect
        refusal = self._worker.admission.enter(scope)
        if refusal is not None:
            if self._failures.due(("socket", refusal), time.monotonic()):
                logger.warning("refused a socket: %s", refusal)
            self._worker.hub.counters.refused("limit")
            await refuse(scope, receive, send, 503, refusal)
            return None
        connection = None
        try:
            connection = await self._routed(scope, receive, send)
        finally:
            if connection is None:
                self._worker.admission.leave(scope)
        return connection

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> Connection | None:
        path = app_path(scope)
        found = self.find(path)
        refusal = await self._refusal(scope, path, found is not None, receive)
        if found is None or refusal is not None:
            status, detail = refusal or (404, "")
            self._worker.hub.counters.refused(_REFUSALS[status])
            await refuse(scope, receive, send, status, detail)
            return None
        route, values = found
        return Connection(self._worker, route, path, values, scope, receive, send)

    async def _refusal(
        self, scope: Scope, path: str, known: bool, receive: Receive
    ) -> tuple[int, str] | None:
        if not known:
            return 404, f"no WebSocket at {path}"
        headers = Headers(scope["headers"])
        if not self._origins.allow(headers):
            origin = headers["origin"]
            self._log_refused_origin(origin, path)
            advice = origins_advice(origin) if self._worker.debug else None
            return 403, advice or "pages of this origin may not connect"
        try:
            self._check_workers(receive)
            await self._start_worker()
        except (SetupError, AdapterError) as exc:
            if self._failures.due(("socket", str(exc)), time.monotonic()):
                logger.error("refused a socket on %s: %s", path, exc, extra=about(path=path))
            return 503, "the server cannot serve sockets now; try again"
        return None

    def _log_refused_origin(self, origin: str, path: str) -> None:
        # Bounded and once for each origin, because pages may try again and again.
        if self._refused_origins.due(origin):
            advice = "" if origin == "null" else f"; to allow it: WSRoom(origins=[{origin!r}])"
            logger.warning(
                "a page of %.200r may not connect to %s%.200s",
                origin,
                path,
                advice,
                extra=about(path=path),
            )

    def _start(self) -> None:
        self._frozen = "the app has started"
        if self._exporter is not None:
            self._exporter.start()

    async def _start_worker(self) -> None:
        if self._worker.presence is None and any(route.card_makers for route in self.routes):
            raise SetupError(NO_PRESENCE)
        await self._worker.start()

    def _has_presence(self, path: str) -> bool:
        found = self.find(path)
        return found is not None and bool(found[0].card_makers)

    def _start_unserved(self) -> None:
        # A mounted app that was not given the outer app's lifespan begins with its first request.
        self._start()
        if self._user_lifespan is not None and not self._lifespan_seen:
            self._lifespan_seen = True
            logger.warning(
                "the lifespan= of this WSRoom does not run, because servers run no lifespan of a "
                "mounted app; give the outer app lifespan=rt.lifespan, or enter rt.lifespan() there"
            )

    def _check_workers(self, receive: Receive) -> None:
        if not self._workers_checked:
            self._refuse_several_workers(receive)
            self._workers_checked = True

    def _refuse_several_workers(self, receive: Receive) -> None:
        if not self._adapter.shared and (count := count_workers(receive)) > 1:
            raise SetupError(TOO_MANY.format(count=count))


def _adapter_of(given: object) -> Adapter:
    if isinstance(given, Adapter):
        return given
    if given is not None and not isinstance(given, str):
        raise SetupError(f"adapter is {given!r}; use a URL of Redis or an Adapter")
    url = os.environ.get("WSROOM_REDIS_URL") if given is None else given
    if not url and given is None:
        return MemoryAdapter()
    from wsroom.adapters.redis import RedisAdapter  # slow to import, so only if it is used

    return RedisAdapter(url or "")
