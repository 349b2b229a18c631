"""Opening a client and closing it, any number of times."""

from __future__ import annotations

import asyncio

from wsroom.client.attempt import Settings
from wsroom.client.keeper import Keeper
from wsroom.client.listeners import Listeners
from wsroom.client.recovery import Recovery
from wsroom.errors import ConnectionLost


class Life:
    """Owns a client's keeper, which is another one each time it is opened, and its tasks."""

    def __init__(self, settings: Settings, listeners: Listeners) -> None:
        self.keeper = Keeper(settings, listeners, Recovery())
        self._settings = settings
        self._listeners = listeners
        self._task: asyncio.Task[None] | None = None

    @property
    def open_now(self) -> bool:
        """Whether it was opened, and is not closed."""
        return self._task is not None and self.keeper.end is None

    async def open(self) -> None:
        """Start a keeper, unless one runs, and wait for its first connection; not in a listener.

        Raises:
            ConnectionLost: it was refused for good.

        """
        if self.open_now:
            return
        if self.keeper.end is not None:
            # The session stays too: by it the server leaves out what emit_except_sender kept back.
            # It gives no access: the guards decide about each room again.
            last = self.keeper
            last.recovery.disconnected()
            self.keeper = Keeper(
                self._settings, self._listeners, last.recovery, last.outgoing.dropped
            )
            self.keeper.id = last.id
            self._listeners.notify(("hook", "on_state"), self.keeper.state)
        keeper = self.keeper
        self._listeners.begin()
        self._task = asyncio.create_task(keeper.run())
        if self._listeners.calling:
            return  # what arrives may have to wait for this listener, and the connection for that
        keeper.awaited = True
        try:
            await keeper.decided.wait()
        except BaseException:
            await self.close(1000, "")
            raise
        if keeper.end is not None:
            raise keeper.end

    async def close(self, code: int, reason: str) -> None:
        """Close it for good; wait until its tasks have ended."""
        keeper, task = self.keeper, self._task
        if task is not None:
            await keeper.close(code, reason)
            task.cancel()
            await asyncio.wait([task])
        keeper.finish(ConnectionLost(code, reason))
        await self._listeners.wait_ended()
