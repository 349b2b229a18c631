"""Processes of the tests: started, frozen, killed and ended by their id."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from tests.support.clock import SECOND, TICK

AWAY = (RedisError, OSError)
"""Exceptions that mean that a server is unreachable."""


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Return the first true answer of `check`; an unreachable server counts as false."""
    answer: Any = None
    try:
        async with asyncio.timeout(seconds * SECOND):
            while True:
                with contextlib.suppress(*AWAY):
                    if answer := await check():
                        return answer
                await asyncio.sleep(TICK)
    except TimeoutError:
        raise AssertionError(f"{check.__qualname__} still returns {answer!r}") from None


PORTS = 1_500
PORT_RANGES = 14
_port_numbers = itertools.count(secrets.randbelow(PORTS))


def free_port() -> int:
    """Return a port that is free now, and that the system never gives to a client.

    So a server finds it free again at its restart, and a client never connects to itself.
    """
    # Each process of a test run has a range of its own, and uses each port once: otherwise a
    # server could get a port that another one has been given, but does not listen on yet.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + worker % PORT_RANGES * PORTS
    while True:
        port = first + next(_port_numbers) % PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Owned:
    """A process that can be run again after its end; its output goes to a file."""

    def __init__(self, log: Path, *command: str | Path, env: Mapping[str, str] | None = None):
        self._log = log
        self._command = [str(part) for part in command]
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the process does not run"
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def run(self) -> None:
        """Run the process without waiting."""
        assert self._process is None, "the process runs"
        # Linux ends the process if this one is killed; other systems rely on `end`.
        wrapper = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, *self._command],
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )

    async def ready(self) -> bool:
        """Whether it serves; called until it does."""
        raise NotImplementedError

    async def start(self) -> None:
        """Run the process, and wait until it serves."""
        self.run()
        process = self._process
        assert process is not None

        async def served() -> bool:
            assert process.poll() is None, self.log
            return await self.ready()

        await eventually(served)

    async def stop(self) -> None:
        """End the process with SIGTERM."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the process with SIGKILL, frozen or not."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """Send SIGSTOP: its connections stay open, and it does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill the process if it runs, without an event loop; every fixture calls this."""
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
