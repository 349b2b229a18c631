"""This process' share of a running app: its hub, its threads, its watch."""

from __future__ import annotations

import logging
from typing import Any

from wsroom.adapters.base import Adapter
from wsroom.blocking import Threads
from wsroom.callbacks import Callback
from wsroom.hub import Hub
from wsroom.limits import Limits
from wsroom.watch import Watch

logger = logging.getLogger("wsroom")

PATIENCE = 1.0
"""Seconds that the app's code may be at work before its socket is read beside it."""


GRACE = 5.0
"""Seconds that the app's code may go on once its peer is gone, and that a close may take."""


class Worker:
    """What the connections of one process share."""

    def __init__(self, adapter: Adapter, limits: Limits, debug: bool) -> None:
        self.limits = limits
        self.debug = debug
        self.grace = GRACE
        self.hub = Hub(adapter, limits)
        self.threads = Threads()
        self.watch = Watch(min(PATIENCE, limits.handler_timeout))
        self._said_open: set[str] = set()

    async def start(self) -> None:
        """Start the hub, once; called before anything is served or emitted."""
        await self.hub.start()

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

    def tell(self, exc: BaseException) -> str:
        """What a client may know of an exception: its text only in debug mode."""
        return repr(exc) if self.debug else "the server failed; the reason is in its log"

    def say_open(self, path: str) -> None:
        """Say once for each path that anybody may join any room on it."""
        if path not in self._said_open:
            self._said_open.add(path)
            logger.warning(
                "any client may join any room on %s; decide with @app.on_join(path=%r)", path, path
            )
