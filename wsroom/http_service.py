"""The answers to HTTP requests: pages, files for browsers, health, what to open instead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from wsroom.asgi.assets import client_assets
from wsroom.asgi.handshake import Headers, app_path, server_of
from wsroom.asgi.responses import HTML, JSON, respond
from wsroom.asgi.types import ASGIApp, Receive, Scope, Send
from wsroom.asgi.worker_count import count_workers
from wsroom.connection.worker import Worker
from wsroom.describe import Documentation
from wsroom.errors import AdapterError, SetupError
from wsroom.exporter import CONTENT_TYPE, ONE_OF_SEVERAL, Exporter
from wsroom.logs import LogOnce, about
from wsroom.routing.router import Router

logger = logging.getLogger("wsroom")

LOG_FAILURES_EVERY = 60.0
"""Seconds between two log lines about the same reason to refuse sockets."""


class HttpService:
    """Answers HTTP requests.

    Args:
        router: the app's pages and WebSocket paths.
        worker: this process' part of the app.
        documentation: the app's description.
        check: raises SetupError if the server's workers may not serve the app.
        rest: the ASGI app that serves all other requests; None for 404.
        exporter: answers `GET /metrics`; None if the app does not serve it.

    """

    def __init__(
        self,
        router: Router,
        worker: Worker,
        documentation: Documentation,
        check: Callable[[Receive], None],
        rest: ASGIApp | None,
        exporter: Exporter | None = None,
    ) -> None:
        self._exporter = exporter
        self._router = router
        self._worker = worker
        self._documentation = documentation
        self._check = check
        self._rest = rest
        self._assets = client_assets()
        self._failures = LogOnce(again_after=LOG_FAILURES_EVERY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = app_path(scope)
        get = scope["method"] in ("GET", "HEAD")
        if get and path in self._router.pages:
            await self._page(scope, send, path)
        elif get and path in self._assets:
            await self._assets[path].serve(scope, send)
        elif get and path == "/asyncapi.json" and self._documentation.served:
            described = self._documentation.served_at(server_of(scope))
            await respond(scope, send, 200, described, JSON)
        elif get and path == "/metrics" and self._exporter is not None:
            await self._metrics(self._exporter, scope, receive, send)
        elif get and path == "/healthz":
            await respond(scope, send, 200, '{"status":"ok"}', JSON)
        elif get and path == "/readyz":
            await self._readiness(scope, receive, send)
        elif get and self._router.find(path) is not None:
            await self._no_websocket(scope, send, path)
        elif self._rest is not None:
            await self._rest(scope, receive, send)
        elif path in self._router.pages:
            await respond(scope, send, 405, "only GET", headers=((b"allow", b"GET, HEAD"),))
        else:
            await respond(scope, send, 404, f"{path} does not exist")

    async def _metrics(
        self, exporter: Exporter, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not exporter.shared and (count := count_workers(receive)) > 1:
            await respond(scope, send, 503, ONE_OF_SEVERAL.format(count=count))
        else:
            await respond(scope, send, 200, exporter.exposition(), CONTENT_TYPE)

    async def _readiness(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A mounted app may have no lifespan; then it starts here, as with a connection.
        accepts = True
        try:
            self._check(receive)
            if not self._worker.hub.stopped:
                await self._worker.start()
        except (SetupError, AdapterError) as exc:
            accepts = False
            if self._failures.due(("ready", str(exc)), time.monotonic()):
                logger.warning("the app is not ready: %s", exc)
        accepts = accepts and not self._worker.admission.draining
        if accepts and self._worker.hub.running and self._worker.hub.adapter.healthy:
            await respond(scope, send, 200, '{"status":"ready"}', JSON)
        else:
            await respond(scope, send, 503, '{"status":"not ready"}', JSON)

    async def _page(self, scope: Scope, send: Send, path: str) -> None:
        try:
            page = await self._worker.call(self._router.pages[path])
            if not isinstance(page, str):
                raise TypeError(f"a page must be a string of HTML, not {type(page).__name__}")
        except Exception as exc:
            logger.exception("the page at %s failed", path, extra=about(path=path))
            await respond(scope, send, 500, self._worker.describe_error(exc))
        else:
            await respond(scope, send, 200, page, HTML)

    async def _no_websocket(self, scope: Scope, send: Send, path: str) -> None:
        if Headers(scope["headers"]).get("upgrade", "").lower() == "websocket":
            logger.error("the server has no WebSocket library: pip install 'uvicorn[standard]'")
            detail = "the server has no WebSocket library; install it: 'uvicorn[standard]'"
            await respond(scope, send, 501, detail)
            return
        headers = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
        await respond(
            scope,
            send,
            426,
            f"{path} is a WebSocket; open it with new WebSocket(url) or a WebSocket client",
            headers=headers if scope.get("http_version", "1.1") == "1.1" else (),
        )
