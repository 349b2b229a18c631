"""Threads for functions written with plain `def`, and the blocking emitters that they get."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from wsroom.api.emitter import Emitter
from wsroom.api.socket import Socket, SocketInfo
from wsroom.api.user import User, WithUser
from wsroom.timing import Timing

T = TypeVar("T")

THREADS = 32
"""Handlers and hooks that run in threads at a time."""


class Portal:
    """Runs coroutines on the event loop for one call's thread, until the call is given up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._timeout = timeout
        self._closed = False

    def close(self) -> None:
        # A thread cannot be stopped, but it must not use the loop any more.
        self._closed = True

    def run(self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise RuntimeError(
                "a blocking emitter on the event loop's thread would wait for itself; "
                "write the handler with async def"
            )
        if self._closed:
            raise RuntimeError("this handler was given up (its time is over or its client gone)")
        future = asyncio.run_coroutine_threadsafe(_from_thread(method(*args)), self._loop)
        try:
            return future.result(self._timeout)
        except TimeoutError:
            future.cancel()
            raise


_called_from_thread = contextvars.ContextVar("called_from_thread", default=False)


async def _from_thread(work: Coroutine[Any, Any, T]) -> T:
    _called_from_thread.set(True)
    return await work


class BlockingSocket(SocketInfo[User]):
    """One connection, in `def` handlers and hooks: the methods of `Socket`, blocking."""

    def __init__(self, socket: Socket[User], portal: Portal) -> None:
        super().__init__(socket._connection, socket.state)
        self._socket = socket
        self._portal = portal

    def join(self, *rooms: str) -> None:
        """Do what `Socket.join` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.join, *rooms)

    def leave(self, *rooms: str) -> None:
        """Do what `Socket.leave` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.leave, *rooms)

    def update_presence(self, room: str, values: Mapping[str, Any]) -> None:
        """Do what `Socket.update_presence` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.update_presence, room, values)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Do what `Socket.close` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.close, code, reason)


class BlockingEmitter(WithUser[User]):
    """What a `def` handler gets: the methods of `Emitter`, blocking, for at most 10 s each.

    They raise the exceptions of `Emitter`, TimeoutError, and RuntimeError on the event loop's
    thread or after the handler was given up.
    """

    def __init__(self, emitter: Emitter[User], portal: Portal) -> None:
        self._emitter = emitter
        self._portal = portal
        self.socket = BlockingSocket(emitter.socket, portal)
        """The socket whose frame is being handled."""
        self.event = emitter.event
        """The event that is being handled; None in a hook."""

    def to(self, *rooms: str) -> BlockingEmitter[User]:
        """Do what `Emitter.to` does."""
        return BlockingEmitter(self._emitter.to(*rooms), self._portal)

    def except_(self, *rooms: str) -> BlockingEmitter[User]:
        """Do what `Emitter.except_` does."""
        return BlockingEmitter(self._emitter.except_(*rooms), self._portal)

    def members(self) -> list[dict[str, Any]]:
        """Do what `Emitter.members` does."""
        return self._portal.run(self._emitter.members)

    def count(self) -> int:
        """Do what `Emitter.count` does."""
        return self._portal.run(self._emitter.count)

    def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Do what `Emitter.emit` does."""
        self._portal.run(partial(self._emitter.emit, volatile=volatile), event, message)

    def emit_except_sender(
        self, event: str, message: Any = None, *, volatile: bool = False
    ) -> None:
        """Do what `Emitter.emit_except_sender` does."""
        self._portal.run(
            partial(self._emitter.emit_except_sender, volatile=volatile), event, message
        )

    def emit_to_sender(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Do what `Emitter.emit_to_sender` does."""
        self._portal.run(partial(self._emitter.emit_to_sender, volatile=volatile), event, message)

    def leave(self, *rooms: str) -> None:
        """Do what `Target.leave` does; choose rooms by `to` before."""
        self._portal.run(self._emitter.leave, *rooms)

    def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Do what `Target.disconnect` does; choose rooms by `to` before."""
        self._portal.run(self._emitter.disconnect, code, reason)

    def recheck(self, *rooms: str) -> None:
        """Do what `Target.recheck` does; choose rooms by `to` before."""
        self._portal.run(self._emitter.recheck, *rooms)


class Threads:
    """The app's own threads, so that its handlers and other libraries cannot starve each other.

    They are daemon threads: unlike the threads of concurrent.futures, a thread that was given up
    must not keep the process alive. At most 32 calls of handlers and hooks run at a time; a thread
    that was given up counts until it ends.
    """

    def __init__(self, timing: Timing) -> None:
        self._timeout = timing.blocking_timeout
        self._slots = asyncio.Semaphore(THREADS)
        self.final_slots = asyncio.Semaphore(THREADS)
        """For the last hooks of sockets, so that handlers cannot prevent them from running."""

    async def run(self, function: Callable[..., Any], *args: Any, **values: Any) -> Any:
        """Run `function` in a thread, with blocking emitters and sockets as arguments."""
        if _called_from_thread.get():
            # A hook called on behalf of a function that has a slot: if it waited for another, all
            # of them could wait for each other.
            return await self.run_without_slot(function, *args, **values)
        await self._slots.acquire()
        return await self.run_without_slot(function, *args, _done=self._slots.release, **values)

    async def run_without_slot(
        self,
        function: Callable[..., Any],
        *args: Any,
        _done: Callable[[], None] = lambda: None,
        **values: Any,
    ) -> Any:
        """Run `function` in a thread without waiting for a slot; calls `_done` at its end."""
        loop = asyncio.get_running_loop()
        portal = Portal(loop, self._timeout)
        call = partial(function, *(_blocking(arg, portal) for arg in args), **values)
        context = contextvars.copy_context()
        outcome: asyncio.Future[Any] = loop.create_future()

        def finish(result: Any, exc: BaseException | None) -> None:
            _done()
            if outcome.cancelled():
                return
            if exc is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(exc)

        def work() -> None:
            result: Any = None
            failure: BaseException | None = None
            try:
                result = context.run(call)
            except StopIteration:  # a future cannot hold one, so it would be lost
                failure = RuntimeError("the function raised StopIteration")
            except BaseException as exc:
                failure = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                loop.call_soon_threadsafe(finish, result, failure)

        threading.Thread(target=work, name="wsroom", daemon=True).start()
        try:
            return await outcome
        except asyncio.CancelledError:
            portal.close()
            raise

    def stop(self) -> None:
        """Forget the calls that are still running; the next start has all slots free."""
        self._slots = asyncio.Semaphore(THREADS)
        self.final_slots = asyncio.Semaphore(THREADS)


def _blocking(arg: Any, portal: Portal) -> Any:
    if isinstance(arg, Emitter):
        return BlockingEmitter(arg, portal)
    if isinstance(arg, Socket):
        return BlockingSocket(arg, portal)
    return arg
