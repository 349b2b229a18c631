"""One Redis server as an adapter uses it: a connection that commands, and one that hears."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from wsroom.adapters.redis.network.commands import Reply, Scripts, settle
from wsroom.adapters.redis.network.retryable import Lost
from wsroom.adapters.redis.network.subscriptions import CHANNELS_AT_ONCE, Leaving, joined
from wsroom.adapters.redis.network.topology import Server, Topology
from wsroom.timing import DEFAULT_TIMING, Timing

logger = logging.getLogger("wsroom")

BACKOFF = 0.05, 1.0
"""Seconds between attempts to connect: at first, and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What the owner of the connections decides about all of them."""

    scripts_for: Callable[[str], Scripts]
    """Returns the scripts for the server with this run_id; they are loaded into it."""
    heartbeat_channel: str
    """What the names of heartbeat channels begin with."""
    listens: bool = True
    """Whether there is a second connection, for subscriptions."""
    timing: Timing = DEFAULT_TIMING


class Owner(Protocol):
    """Whoever a link belongs to."""

    def came_up(self, link: Link) -> None:
        """It is connected; nothing is subscribed yet."""

    def went_down(self, link: Link) -> None:
        """It is not connected any more; it tries again by itself."""

    def subscribed(self, link: Link, channel: str) -> None:
        """The server has confirmed a subscription."""

    def unsubscribed(self, link: Link, channel: str) -> None:
        """A sharded channel is not heard any more, without our wish: its slot has moved."""

    def heard(self, channel: str, data: bytes) -> None:
        """Something was published on a subscribed channel."""

    def can_retry(self) -> None:
        """What the server refused for a passing reason may be tried again."""


class Link:
    """Keeps two connections to the server of one place, with one fate.

    redis-py's own client and PubSub connect again silently; here, whatever happens to one of the
    connections ends both, and the owner hears of it.
    """

    def __init__(
        self,
        topology: Topology,
        place: str,
        owner: Owner,
        settings: NetworkSettings,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.place = place
        self.up = False
        self.problem: BaseException | None = None
        """Why it is not connected."""
        self._topology = topology
        self._owner = owner
        self._hears = settings.listens
        self._timing = settings.timing
        self._scripts_for = settings.scripts_for
        self._scripts: Scripts = {}
        self.run_id = ""
        """Names the server process that it is, or was last, connected to."""
        self.address = ""
        """Where that is."""
        self._commands: list[bytes] = []
        self._replies: deque[Reply] = deque()
        self._wishes: list[tuple[str, str]] = []  # (command, channel), in order
        self._leaving = Leaving()
        self._work = asyncio.Event()
        self._beat_channel = f"{settings.heartbeat_channel}:{secrets.token_hex(8)}"
        self._beat_heard = 0.0
        self._steady = False  # a heartbeat was heard since it came up
        self._answered = 0.0
        self._connection: AbstractConnection | None = None
        self._reloading = False
        self._beating: asyncio.Task[None] | None = None
        self._task = self._loop.create_task(self._run(), name="wsroom: Redis")

    # -- what the owner asks for -----------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether it is connected and the server has answered lately."""
        return self.up and self._loop.time() - self._beat_heard < self._timing.unhealthy_after

    @property
    def prompt(self) -> bool:
        """Whether the server answers what it is asked at once."""
        late = self._loop.time() - self._answered
        return self.up and (not self._replies or late < 1)

    def run_script(self, name: str, arguments: Iterable[Any], reply: Reply) -> None:
        """Run a script; `reply` is called once, also where the connection ends before."""
        self.command(("EVALSHA", self._scripts[name].sha, 2, *arguments), reply)

    async def ask(self, words: tuple[Any, ...]) -> Any:
        """Send a command, or the name of a script with its arguments, and wait.

        Returns:
            the answer, or the exception that was one.

        """
        future: asyncio.Future[Any] = self._loop.create_future()
        reply = partial(settle, future)
        if words[0] in self._scripts:
            self.run_script(words[0], words[1:], reply)
        else:
            self.command(words, reply)
        return await future

    def command(self, words: tuple[Any, ...], reply: Reply) -> None:
        """Send a command at the end of this tick, in one write with the others."""
        assert self._connection is not None
        if not self._replies:
            self._answered = self._loop.time()  # nothing was asked until now
        self._commands.append(pack_command(words))  # in C; redis-py's own takes most of an emit
        self._replies.append(reply)
        self._work.set()

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; the owner is told when it is confirmed."""
        self._wish("SSUBSCRIBE" if self._topology.shards else "SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """End a subscription."""
        if self._topology.shards and self.up:
            self._leaving.add(channel)
        self._wish("SUNSUBSCRIBE" if self._topology.shards else "UNSUBSCRIBE", channel)

    def _wish(self, command: str, channel: str) -> None:
        if self.up:
            self._wishes.append((command, channel))
            self._work.set()

    def replace(self) -> None:
        """Connect anew: another server has this place now."""
        if self._beating is not None:
            self._beating.cancel()

    async def stop(self) -> None:
        """End the connections."""
        self._task.cancel()
        await asyncio.wait([self._task])

    # -- its life --------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = BACKOFF[0]
        while True:
            servers: list[Server] = []
            try:
                await self._connect(servers)
                await self._live(servers)
            except (RedisError, OSError, TimeoutError) as exc:
                self.problem = exc
                logger.debug("%s is not there: %r", self._topology.url, exc)
            except Exception as exc:  # whatever it is, the next attempt must come
                self.problem = exc
                logger.exception("a connection to %s failed", self._topology.url)
            finally:
                self._end()
                for server in servers:
                    await server.close()
            if self._steady:
                delay = BACKOFF[0]
            await asyncio.sleep(random.uniform(delay / 2, delay))
            delay = min(delay * 2, BACKOFF[1])

    async def _connect(self, servers: list[Server]) -> None:
        for _ in range(2 if self._hears else 1):
            servers.append(await self._topology.connect(self.place, self._timing.connect_timeout))
        self.run_id, self.address = servers[0].run_id, servers[0].address
        if servers[-1].run_id != self.run_id:
            raise Lost("the two connections lead to two servers")
        async with asyncio.timeout(self._timing.reconnect_after):
            await self._load_scripts(servers[0].connection)

    async def _load_scripts(self, connection: AbstractConnection) -> None:
        self._scripts = self._scripts_for(self.run_id)
        for script in self._scripts.values():
            await connection.send_command("SCRIPT", "LOAD", script.text)
            await connection.read_response()

    async def _live(self, servers: list[Server]) -> None:
        self._connection = servers[0].connection
        self._beat_heard = self._answered = self._loop.time()
        self.up, self.problem, self._steady = True, None, False
        work = [self._read_replies(self._connection), self._write(servers), self._beat()]
        if self._hears:
            work.append(self._hear(servers[1].connection))
        tasks = [self._loop.create_task(one, name="wsroom: Redis") for one in work]
        self._beating = tasks[2]  # whichever ends, all do
        try:
            self._wishes = [("SUBSCRIBE", self._beat_channel)]
            self._owner.came_up(self)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (exc := task.exception()) is not None:
                self.problem = exc
                if not isinstance(exc, (RedisError, OSError, TimeoutError)):
                    logger.error("the connection to Redis failed", exc_info=exc)
        logger.info("a connection to %s ended: %s", self._topology.url, self.problem)

    def _end(self) -> None:
        was_up, self.up = self.up, False
        self._commands, self._wishes, self._leaving = [], [], Leaving()
        self._connection = None
        self._reloading = False
        replies, self._replies = self._replies, deque()
        for reply in replies:
            reply(Lost("the connection to Redis was lost"))
        if was_up:
            self._owner.went_down(self)

    async def _write(self, servers: list[Server]) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            commands, self._commands = self._commands, []
            if commands:
                await _send(servers[0].connection, commands)
            wishes, self._wishes = self._wishes, []
            if wishes and self._hears:
                # Sharded channels of different slots cannot be named in one command.
                most = 1 if self._topology.shards else CHANNELS_AT_ONCE
                packed = [pack_command(words) for words in joined(wishes, most)]
                await _send(servers[1].connection, packed)

    async def _read_replies(self, connection: AbstractConnection) -> None:
        while True:
            answer: Any
            try:
                answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except ResponseError as exc:
                answer = exc
                if isinstance(exc, NoScriptError):
                    self._reload()
                elif isinstance(exc, ReadOnlyError):
                    self.replace()  # it was deposed: its address may lead to another one by now
            self._answered = self._loop.time()
            self._replies.popleft()(answer)

    async def _hear(self, connection: AbstractConnection) -> None:
        owner = self._owner
        while True:
            kind, name, data, *_ = await connection.read_response(
                timeout=math.inf, disconnect_on_error=False
            )
            if kind in (b"message", b"smessage"):
                channel = name.decode(errors="replace")
                if channel == self._beat_channel:
                    self._hear_beat()
                else:
                    owner.heard(channel, data)
            elif kind in (b"subscribe", b"ssubscribe"):
                owner.subscribed(self, name.decode(errors="replace"))
            elif kind == b"sunsubscribe":
                channel = name.decode(errors="replace")
                if not self._leaving.confirm(channel):
                    owner.unsubscribed(self, channel)

    async def _beat(self) -> None:
        # Through the connection that commands, to the one that hears: a frozen master, or one that
        # was deposed, breaks neither connection.
        timing = self._timing
        beat = ("PUBLISH", self._beat_channel, "") if self._hears else ("PING",)
        while True:
            self.command(beat, self._beaten)
            sent = self._loop.time()
            await asyncio.sleep(timing.heartbeat_interval)
            if self._loop.time() - sent > 2 * timing.heartbeat_interval:
                continue  # it was this process that stood still; what it missed is read first
            if self._loop.time() - self._beat_heard > timing.reconnect_after:
                raise Lost(f"no heartbeat was heard for {timing.reconnect_after:g} s")

    def _beaten(self, answer: Any) -> None:
        if not self._hears:
            self._hear_beat()

    def _hear_beat(self) -> None:
        self._beat_heard = self._loop.time()
        self._steady = True

    def _reload(self) -> None:
        if not self._reloading:
            self._reloading = True
            self.command(("INFO", "server"), self._load)

    def _load(self, answer: Any) -> None:
        # A proxy may have led this very connection to another server meanwhile.
        if not isinstance(answer, bytes) or self.run_id.encode() not in answer:
            self.replace()
            return
        for script in self._scripts.values():
            self.command(("SCRIPT", "LOAD", script.text), self._loaded)

    def _loaded(self, answer: Any) -> None:
        self._reloading = False
        if isinstance(answer, Exception):
            self.replace()
        elif self.up:
            self._owner.can_retry()


async def _send(connection: AbstractConnection, packed: list[bytes]) -> None:
    try:
        await connection.send_packed_command(packed, check_health=False)
    except RuntimeError as exc:  # uvloop's word for a transport that was closed just now
        raise Lost(str(exc)) from exc
