"""Commands to one server: sent together, answered in order; and the scripts that it has loaded."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from wsroom.adapters.redis.network.retryable import ConnectionBroken
from wsroom.adapters.redis.network.topology import ServerConnection

SLOW_AFTER = 1.0
"""Seconds without an answer, while commands wait for one, until a server counts as slow."""


class Script(NamedTuple):
    """A Lua script, for one server."""

    text: str
    sha: str
    """The name by which EVALSHA calls it."""
    keys: int
    """How many of its arguments are keys: the first ones."""


Scripts = Mapping[str, Script]
"""Scripts by the names that their callers use."""

Reply = Callable[[Any], None]
"""Takes the answer to a command; an exception if it was refused or the connection was lost."""


class Commands:
    """Sends commands on a connection, without waiting for the answers to earlier ones.

    Args:
        on_wrong_server: called if the connection turns out to lead to another server, or to one
            that takes no writes.
        on_scripts_loaded: called when the server knows the scripts again, after it had lost them.

    """

    def __init__(
        self, *, on_wrong_server: Callable[[], None], on_scripts_loaded: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_wrong_server = on_wrong_server
        self._on_scripts_loaded = on_scripts_loaded
        self._server: ServerConnection | None = None
        self._scripts: Scripts = {}
        self._reloading = False
        self._packed: list[bytes] = []
        self._replies: deque[Reply] = deque()
        self._queued = asyncio.Event()
        self._answered_at = 0.0

    async def open(self, server: ServerConnection, scripts: Scripts) -> None:
        """Load the scripts into the server; from then on commands can be sent to it."""
        for script in scripts.values():
            await server.connection.send_command("SCRIPT", "LOAD", script.text)
            await server.connection.read_response()
        self._server, self._scripts = server, scripts
        self._answered_at = self._loop.time()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return the loops to run while the connection is open; if one ends, it is broken."""
        assert self._server is not None
        return [self._read(self._server.connection), self._write(self._server.connection)]

    def close(self) -> None:
        """Forget the connection; commands without an answer get `ConnectionBroken`."""
        self._server = None
        self._packed = []
        self._reloading = False
        replies, self._replies = self._replies, deque()
        for reply in replies:
            reply(ConnectionBroken("the connection to Redis was lost"))

    @property
    def responsive(self) -> bool:
        """Whether the server answers commands at once."""
        return not self._replies or self._loop.time() - self._answered_at < SLOW_AFTER

    def run_script(self, name: str, arguments: Iterable[Any], reply: Reply) -> None:
        """Run a script; `reply` is called exactly once."""
        script = self._scripts[name]
        self.send(("EVALSHA", script.sha, script.keys, *arguments), reply)

    def send(self, words: tuple[Any, ...], reply: Reply) -> None:
        """Send a command at the end of this tick, in one write with the others."""
        assert self._server is not None
        if not self._replies:
            self._answered_at = self._loop.time()  # until now there was nothing to answer
        self._packed.append(pack_command(words))  # in C; redis-py's own takes most of an emit
        self._replies.append(reply)
        self._queued.set()

    async def ask(self, words: tuple[Any, ...]) -> Any:
        """Send a command, or the name of a script with its arguments, and wait for the answer.

        Returns:
            the answer; an exception is returned, not raised.

        """
        future: asyncio.Future[Any] = self._loop.create_future()
        reply = partial(_set_result, future)
        if words[0] in self._scripts:
            self.run_script(words[0], words[1:], reply)
        else:
            self.send(words, reply)
        return await future

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            packed, self._packed = self._packed, []
            if packed:
                await write_packed(connection, packed)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            answer: Any
            try:
                answer = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except ResponseError as exc:
                answer = exc
                if isinstance(exc, NoScriptError):
                    self._reload_scripts()
                elif isinstance(exc, ReadOnlyError):
                    self._on_wrong_server()  # it was deposed: another server has its role now
            self._answered_at = self._loop.time()
            self._replies.popleft()(answer)

    # -- loading the scripts again ---------------------------------------------------------

    def _reload_scripts(self) -> None:
        if not self._reloading:
            self._reloading = True
            self.send(("INFO", "server"), self._check_server)

    def _check_server(self, answer: Any) -> None:
        # A proxy may have connected this very connection to another server meanwhile.
        server = self._server
        if server is None or not isinstance(answer, bytes) or server.run_id.encode() not in answer:
            self._on_wrong_server()
            return
        for script in self._scripts.values():
            self.send(("SCRIPT", "LOAD", script.text), self._loaded)

    def _loaded(self, answer: Any) -> None:
        self._reloading = False
        if isinstance(answer, Exception):
            self._on_wrong_server()
        elif self._server is not None:
            self._on_scripts_loaded()


async def write_packed(connection: AbstractConnection, packed: list[bytes]) -> None:
    """Write packed commands; raises ConnectionBroken or what redis-py raises."""
    try:
        await connection.send_packed_command(packed, check_health=False)
    except RuntimeError as exc:  # uvloop raises it if the transport was closed just now
        raise ConnectionBroken(str(exc)) from exc


def _set_result(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)
