"""Real servers for the tests: uvicorn in the test's own event loop, or in processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.support.clock import SECOND

PROTOCOLS = ("websockets-sansio", "wsproto")
"""uvicorn's WebSocket implementations. A link reads the frames of the first one."""
ORDINARY = "ordinary"
"""`ws` of `serve`: the first one, but frames come and go through ASGI, as with `direct=False`."""


class Server(uvicorn.Server):
    """uvicorn without signal handlers; `ready` is set once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    def url(self, path: str = "/ws", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"


@contextlib.asynccontextmanager
async def serve(app: Any, **config: Any) -> AsyncIterator[Server]:
    """Serve `app` by uvicorn while the body runs, on a free port unless it is given."""
    if config.get("ws") == ORDINARY:
        config["ws"] = PROTOCOLS[0]
        app._worker._direct = False
    server = Server(uvicorn.Config(app, log_config=None, **{"port": 0, **config}))
    task = asyncio.create_task(server.serve())
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED, timeout=10 * SECOND)
    try:
        assert ready.done(), "uvicorn did not start"
        yield server
    finally:
        ready.cancel()
        server.should_exit = True
        await asyncio.wait_for(task, 20 * SECOND)


async def get(server: Server, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """Send an HTTP request; return the status and the response."""
    async with httpx.AsyncClient(timeout=10 * SECOND) as client:
        response = await client.request(method, server.url(path, "http"), **options)
        return response.status_code, response


class Program:
    """A program in a process of its own, with its output line by line."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line(self, part: str, timeout: float = 20) -> str:
        """Wait for a line of output that contains `part`."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(timeout * SECOND):
                while raw := await self.process.stdout.readline():
                    line = raw.decode().rstrip()
                    self.lines.append(line)
                    if part in line:
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"no line with {part!r}; there were:\n" + "\n".join(self.lines))

    async def end(self, timeout: float = 20) -> int:
        """Wait until the program ends; return its exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout * SECOND):
            rest = await self.process.stdout.read()
            self.lines += rest.decode().splitlines()
            return await self.process.wait()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


@contextlib.asynccontextmanager
async def program(
    *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run `python ARGS` while the body runs; terminate it afterwards if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *args,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    running = Program(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await running.end()
            except TimeoutError:
                process.kill()
                await process.wait()
