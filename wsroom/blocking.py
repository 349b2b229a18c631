"""Functions written with plain `def`: a thread each, and emitters that block there."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from wsroom.emitter import Emitter
from wsroom.sockets import Socket, SocketInfo

T = TypeVar("T")

THREADS = 32
TIMEOUT = 10.0
"""Seconds that a blocking verb waits for the event loop."""


class Portal:
    """The way from one call's thread to the event loop; shut once the call was given up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._shut = False

    def shut(self) -> None:
        # A thread cannot be stopped; without a way to the loop it can do no more harm there.
        self._shut = True

    def run(self, verb: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            raise RuntimeError(
                "a blocking emitter on the event loop's thread would wait for itself; "
                "write the handler with async def"
            )
        if self._shut:
            raise RuntimeError("this handler was given up (its time is over or its client gone)")
        future = asyncio.run_coroutine_threadsafe(verb(*args), self._loop)
        try:
            return future.result(TIMEOUT)
        except TimeoutError:
            future.cancel()
            raise


class BlockingSocket(SocketInfo):
    """One connection, in `def` handlers and hooks: the verbs of `Socket`, blocking."""

    def __init__(self, socket: Socket, portal: Portal) -> None:
        super().__init__(socket._link, socket.state)
        self._socket = socket
        self._portal = portal

    def join(self, *rooms: str) -> None:
        """Do what `Socket.join` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.join, *rooms)

    def leave(self, *rooms: str) -> None:
        """Do what `Socket.leave` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.leave, *rooms)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Do what `Socket.close` does; also raises TimeoutError after 10 s."""
        self._portal.run(self._socket.close, code, reason)


class BlockingEmitter:
    """What a `def` handler gets: the verbs of `Emitter`, blocking, 10 s at most each.

    They raise what `Emitter`'s raise, TimeoutError, and RuntimeError on the event loop's thread or
    once the handler was given up.
    """

    def __init__(self, emitter: Emitter, portal: Portal) -> None:
        self._emitter = emitter
        self._portal = portal
        self.socket = BlockingSocket(emitter.socket, portal)
        """The socket whose frame is handled."""
        self.event = emitter.event
        """The event that is handled; None in a hook."""

    def to(self, *rooms: str) -> BlockingEmitter:
        """Do what `Emitter.to` does."""
        return BlockingEmitter(self._emitter.to(*rooms), self._portal)

    def except_(self, *rooms: str) -> BlockingEmitter:
        """Do what `Emitter.except_` does."""
        return BlockingEmitter(self._emitter.except_(*rooms), self._portal)

    def emit(self, event: str, message: Any = None) -> None:
        """Do what `Emitter.emit` does."""
        self._portal.run(self._emitter.emit, event, message)

    def emit_except_sender(self, event: str, message: Any = None) -> None:
        """Do what `Emitter.emit_except_sender` does."""
        self._portal.run(self._emitter.emit_except_sender, event, message)

    def emit_to_sender(self, event: str, message: Any = None) -> None:
        """Do what `Emitter.emit_to_sender` does."""
        self._portal.run(self._emitter.emit_to_sender, event, message)


class Threads:
    """The app's own thread pool, so that its handlers and other libraries cannot starve each
    other.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *args: Any, **values: Any) -> T:
        """Run `function` in a thread, its emitters and sockets turned into blocking ones."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="wsroom")
        loop = asyncio.get_running_loop()
        portal = Portal(loop)
        call = partial(_call, function, *(_blocking(arg, portal) for arg in args), **values)
        context = contextvars.copy_context()
        try:
            return await loop.run_in_executor(self._pool, context.run, call)
        except asyncio.CancelledError:
            portal.shut()
            raise

    def stop(self) -> None:
        """Take no more calls; those that run are not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _call(function: Callable[..., T], *args: Any, **values: Any) -> T:
    try:
        return function(*args, **values)
    except StopIteration as exc:
        # A future cannot hold one, so nobody would ever hear of it.
        raise RuntimeError("the function raised StopIteration") from exc


def _blocking(arg: Any, portal: Portal) -> Any:
    if isinstance(arg, Emitter):
        return BlockingEmitter(arg, portal)
    if isinstance(arg, Socket):
        return BlockingSocket(arg, portal)
    return arg
