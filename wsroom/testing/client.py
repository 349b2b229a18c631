"""A client for tests: in process, without a server or a port, with a timeout on every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import quote, urlencode

from wsroom.adapters import MemoryAdapter
from wsroom.asgi.lifespan import forward
from wsroom.asgi.types import ASGIApp
from wsroom.tasks import CHANGING, HANDLING, WRITING
from wsroom.testing.connection import TestConnection

RUNNING = (CHANGING, HANDLING, WRITING)
"""Names of tasks, without which the app counts as idle."""

QUIET_PASSES = 20
"""Passes of the event loop without any work, after which the app counts as idle."""


class TestClient:
    """Runs an ASGI app, with its lifespan, and opens connections to it.

    `async with` starts the app; it raises SetupError if the start fails.

    Args:
        app: a WSRoom, or an app that one is mounted in.
        timeout: seconds for each wait, unless a call gives its own.

    """

    __test__ = False  # pytest takes classes called Test... for tests

    def __init__(self, app: ASGIApp, *, timeout: float = 1.0) -> None:
        self.app = app
        self.timeout = timeout
        self.connections: list[TestConnection] = []
        self._state: dict[str, Any] = {}
        self._lifespan = forward(app, self._state)

    async def __aenter__(self) -> Self:
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        problems: list[Exception] = []
        for connection in self.connections:
            try:
                await connection.close()
            except Exception as problem:
                problems.append(problem)
                await connection._cancel()
        await self._lifespan.__aexit__(None, None, None)
        if problems and exc is None:  # if the body failed, its exception is the one to show
            raise problems[0]

    async def connect(
        self,
        path: str = "/ws",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TestConnection:
        """Open a connection and wait for its `connected`.

        Raises:
            Refused: the app refused the handshake; `status` or `close_code` says how.
            TimeoutError: the app did not answer in time.

        """
        if "?" in path:
            raise ValueError(f"path {path!r} has a query; give it as query={{...}}")
        named = {"host": "testserver"} | {k.lower(): v for k, v in (headers or {}).items()}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        if cookies:
            jar: SimpleCookie = SimpleCookie(dict(cookies))
            raw.append((b"cookie", jar.output([], "", "; ").strip().encode()))
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "server": ("testserver", 80),
            "client": ("testclient", 50000 + len(self.connections)),
            "root_path": "",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": urlencode(query or {}).encode(),
            "headers": raw,
            "subprotocols": list(subprotocols),
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        connection = TestConnection(self.app, scope, self.timeout)
        self.connections.append(connection)
        await connection._open(timeout)
        return connection

    async def settle(self, *, timeout: float | None = None) -> None:
        """Wait until the app is idle.

        Then every frame sent so far has been handled, and all resulting frames have arrived. If
        `app` is a WSRoom, these include `presence` frames, which otherwise come at most every
        100 ms.

        Raises:
            TimeoutError: a handler was still running.

        """
        quiet, presence = 0, self._presence
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                while quiet < QUIET_PASSES:
                    await asyncio.sleep(0)
                    if presence is not None:
                        presence.flush()
                    quiet = 0 if self._busy() else quiet + 1
        except TimeoutError:
            raise TimeoutError(f"still running: {self._busy()}") from None

    async def advance(self, seconds: float) -> None:
        """Set the clock of presence forward, so that a grace ends; then wait until it has ended.

        Raises:
            TypeError: the app is not a WSRoom with a MemoryAdapter.

        """
        adapter = getattr(self.app, "adapter", None)
        if not isinstance(adapter, MemoryAdapter) or self._presence is None:
            raise TypeError("only the clock of a WSRoom with a MemoryAdapter can be set")
        adapter.advance(seconds)
        self._presence.end_graces()
        await self.settle()

    @property
    def _presence(self) -> Any:
        # Of a WSRoom; a mounted one is out of reach.
        return getattr(getattr(self.app, "_worker", None), "presence", None)

    def _busy(self) -> list[Any]:
        tasks = [task for task in asyncio.all_tasks() if task.get_name() in RUNNING]
        return [*(connection for connection in self.connections if not connection._idle), *tasks]
