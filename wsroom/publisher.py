"""Emitting from processes that serve no sockets: Celery, Django, cron, a shell."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.url import read_topology
from wsroom.adapters.redis.publishing import PublishingClient
from wsroom.adapters.redis.scripts import HistorySettings
from wsroom.api.target import Recipients
from wsroom.errors import AdapterError, SetupError
from wsroom.limits import Limits
from wsroom.shared_start import SharedStart
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import Emission, Room
from wsroom.wire.encoding import EmitCheck, JsonDefault, to_json
from wsroom.wire.names import NameChecker
from wsroom.wire.presence import Cards

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

T = TypeVar("T")


class AsyncPublisher:
    """Emits to the rooms of an app from a process that serves no sockets, through the same Redis.

    Its emissions have the same order, history and guarantees as those of the workers. It connects
    at the first emit. The history settings are those that the workers have written into Redis.

    Args:
        source: a source of RedisAdapter; if None, the environment variable WSROOM_REDIS_URL.
        prefix: the prefix of the workers' adapter.

    Raises:
        SetupError: there is no URL, or it is not a URL of Redis.

    """

    def __init__(
        self,
        source: str | Redis | RedisCluster | None = None,
        *,
        prefix: str = "wsroom",
        _timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._timing = _timing
        self._source = _source(source)
        self._names = RedisNames(prefix)
        self.name_checker = NameChecker(Limits())
        self.json_default: JsonDefault = to_json
        self.has_presence: Callable[[str], bool] | None = None  # the app's paths are not known here
        self.check_emit: EmitCheck | None = None  # the app's declarations are not known here
        read_topology(self._source)  # raises at once if the URL is invalid
        self._start = SharedStart(self._connect, "the publisher")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        await self.close()

    def to(self, *rooms: str, path: str = "/ws") -> PublisherTarget:
        """Choose who gets a message: `await publisher.to("chat").emit("noti", "hi")`.

        Args:
            rooms: names of rooms, or ids of sockets; without any, all sockets of the path.
            path: a concrete path ("/t/acme"), without the path where the app is mounted.

        Raises:
            ValueError: the name of a room, or the path, is invalid.

        """
        path.encode()  # raises ValueError if it cannot be encoded
        if not path.startswith("/") or "{" in path:
            raise ValueError(f"path {path!r} is invalid; use a concrete path, like '/ws'")
        return PublisherTarget(self, path).to(*rooms)

    async def publish(self, emission: Emission) -> int | None:
        """Publish the emission of a target; connect first if it is not connected.

        Returns once Redis has answered. Drops a volatile emission if Redis cannot be reached.

        Returns:
            how many workers heard it, as `PublisherTarget.emit` does.

        """
        try:
            client = await self._connected()
            if not emission.volatile:
                return await client.publisher.publish(emission)
            answer = client.publisher.publish_volatile(emission)
        except AdapterError:
            if not emission.volatile:
                raise
            return 0
        heard = 0 if answer is None else await answer
        return heard if isinstance(heard, int) else None

    async def read_members(self, room: Room) -> Cards:
        """Return the members of a room, for a target."""
        client = await self._connected()
        answer = await client.presence.change(room, "", 0, (), whole=True)
        return {} if answer.table is None else answer.table.members

    async def _connected(self) -> PublishingClient:
        start, loop = self._start, asyncio.get_running_loop()
        if start.loop is not None and start.loop is not loop:
            if not start.loop_closed:
                raise RuntimeError("an AsyncPublisher serves one event loop; make one for each")
            start.forget()
        timeout = self._timing.redis_timeout
        try:
            return await start.wait(timeout)
        except TimeoutError:
            raise AdapterError(f"Redis did not answer within {timeout:g} s") from None

    async def _connect(self, history: HistorySettings | None = None) -> PublishingClient:
        history = history or HistorySettings()
        client = PublishingClient(self._source, self._names, history, self._timing)
        key = self._names.settings
        try:
            [values] = await client.servers.start(key, ("HMGET", key, *history._fields))
        except BaseException:
            await client.stop()
            raise
        written = HistorySettings.from_values(values)
        if written == history:
            return client
        await client.stop()
        return await self._connect(written)

    async def close(self) -> None:
        """Close the connections; the next emit opens them again."""
        if self._start.loop_closed:
            self._forget()
            return
        client = await self._start.cancel()
        if client is not None:
            await client.stop()

    def _forget(self) -> None:
        # Its connections belong to another process, or to an event loop that was closed.
        self._start.forget()


class PublisherTarget(Recipients):
    """The recipients of a message of an `AsyncPublisher`; immutable, so it can be kept and shared.

    Messages of one publisher to one room reach all members in the order of the calls, once each.
    """

    __slots__ = ()

    async def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> int | None:
        """Emit, and return once Redis has the message.

        Takes the arguments of `Target.emit`, and raises its exceptions.

        Returns:
            how many workers heard it: those with a member of the room. With several rooms or none
            those with a socket on the path, and with the id of a socket its worker, whether it is
            connected or not. 0 also for a volatile message that was dropped. None if it is unknown,
            because the message had to be sent again.

        """
        return await self._publish(self._emission(event, message, volatile))

    async def leave(self, *rooms: str) -> int | None:
        """Do what `Target.leave` does; returns how many workers heard it, those with the path."""
        heard: int | None = 0
        for emission in self._leave(rooms):
            heard = await self._publish(emission)  # the last one is in the sequence of the path
        return heard

    async def disconnect(self, code: int = 1000, reason: str = "") -> int | None:
        """Do what `Target.disconnect` does; returns how many workers heard it, as `emit` does."""
        return await self._publish(self._disconnect(code, reason))

    async def recheck(self, *rooms: str) -> int | None:
        """Do what `Target.recheck` does; returns how many workers heard it, as `emit` does."""
        return await self._publish(self._recheck(rooms))

    async def _publish(self, emission: Emission) -> int | None:
        heard = await self._publisher.publish(emission)
        return heard if isinstance(heard, int) else None


class BlockingTarget:
    """The recipients of a message of a `Publisher`; immutable, so it can be kept and shared."""

    def __init__(self, publisher: Publisher, target: PublisherTarget) -> None:
        self._publisher = publisher
        self._target = target

    def to(self, *rooms: str) -> BlockingTarget:
        """Do what `Target.to` does."""
        return BlockingTarget(self._publisher, self._target.to(*rooms))

    def except_(self, *rooms: str) -> BlockingTarget:
        """Do what `Target.except_` does."""
        return BlockingTarget(self._publisher, self._target.except_(*rooms))

    def members(self) -> list[dict[str, Any]]:
        """Do what `Target.members` does."""
        return self._publisher._run(self._target.members())

    def count(self) -> int:
        """Do what `Target.count` does."""
        return self._publisher._run(self._target.count())

    def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> int | None:
        """Do what `PublisherTarget.emit` does, and block until then."""
        return self._publisher._run(self._target.emit(event, message, volatile=volatile))

    def leave(self, *rooms: str) -> int | None:
        """Do what `PublisherTarget.leave` does, and block until then."""
        return self._publisher._run(self._target.leave(*rooms))

    def disconnect(self, code: int = 1000, reason: str = "") -> int | None:
        """Do what `PublisherTarget.disconnect` does, and block until then."""
        return self._publisher._run(self._target.disconnect(code, reason))

    def recheck(self, *rooms: str) -> int | None:
        """Do what `PublisherTarget.recheck` does, and block until then."""
        return self._publisher._run(self._target.recheck(*rooms))


class Publisher:
    """Does the same as `AsyncPublisher` for code without an event loop; any thread may use it.

    It has a thread of its own for the connection. The first emit starts it, also in a process that
    was forked from this one (Celery, gunicorn).

    Args:
        source: a URL for RedisAdapter; if None, the environment variable WSROOM_REDIS_URL.
        prefix: the prefix of the workers' adapter.

    Raises:
        SetupError: there is no URL, or it is not a URL of Redis.

    """

    def __init__(
        self,
        source: str | None = None,
        *,
        prefix: str = "wsroom",
        _timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._inner = AsyncPublisher(source, prefix=prefix, _timing=_timing)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        self.close()

    def to(self, *rooms: str, path: str = "/ws") -> BlockingTarget:
        """Choose who gets a message, as `AsyncPublisher.to` does; its `emit` blocks."""
        return BlockingTarget(self, self._inner.to(*rooms, path=path))

    def close(self) -> None:
        """End the thread and its connection; waiting emits raise AdapterError."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None or self._process != os.getpid():
                return
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _end(self) -> None:
        await self._inner.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid():  # forked, maybe while another thread held the lock
            self._process, self._lock = os.getpid(), threading.Lock()
            self._loop = None
            self._inner._forget()
        with self._lock:
            future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except CancelledError:
            raise AdapterError("the publisher was closed", maybe_sent=True) from None

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="wsroom: publisher", daemon=True
            )
            self._thread.start()
        return self._loop


def _source(source: Any) -> Any:
    source = os.environ.get("WSROOM_REDIS_URL") if source is None else source
    if not source:
        raise SetupError("no URL of Redis was given, and WSROOM_REDIS_URL is not set")
    return source
