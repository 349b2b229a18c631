"""A PostgreSQL server, for the adapter that docs/adapters.md shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.brokers.server import running
from tests.support.clock import SECOND
from tests.support.processes import Owned, free_port

# No fsync: a killed process loses nothing that it has written, only a killed machine would.
OPTIONS = ("-F", "-c", "shared_buffers=16MB", "-c", "max_connections=50")


class Postgres(Owned):
    """One server with an empty database, which the superuser `wsroom` owns."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._initdb = programs / "initdb"
        self._as_user = _as_user(folder)
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-k", folder)
        command = (programs / "postgres", "-D", self._data, *address, *OPTIONS)
        super().__init__(folder / "log", *self._as_user, *command)

    @property
    def url(self) -> str:
        return f"postgresql://wsroom@127.0.0.1:{self.port}/postgres"

    async def start(self) -> None:
        if not self._data.exists():
            options = ("-A", "trust", "-U", "wsroom", "-E", "UTF8", "--no-locale", "--no-sync")
            command = (*self._as_user, self._initdb, "-D", self._data, *options)
            process = await asyncio.create_subprocess_exec(*map(str, command), stdout=DEVNULL)
            assert await process.wait() == 0
        await super().start()

    async def ready(self) -> bool:
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            return bool(await self.query("SELECT 1"))
        return False

    async def query(self, sql: str) -> list[Any]:
        """Run one statement on a connection of its own; return its rows."""
        async with self._connected() as connection:
            return list(await connection.fetch(sql))

    async def execute(self, sql: str) -> None:
        """Run several statements."""
        async with self._connected() as connection:
            await connection.execute(sql)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.url, timeout=5 * SECOND)
        try:
            yield connection
        finally:
            await connection.close(timeout=5 * SECOND)

    async def end_connections(self) -> int:
        """Let the server close all connections but the one that asks for it; return how many."""
        ended = await self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended)

    @contextlib.asynccontextmanager
    async def frozen(self, where: str = "") -> AsyncIterator[None]:
        """Stop processes of the server during the body: connections stay open.

        Args:
            where: which of the rows of pg_stat_activity; without it, all and the server itself.

        """
        condition = where or "true"
        rows = await self.query(
            f"SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}"
        )
        assert rows
        pids = [*([] if where else [self.pid]), *(pid for (pid,) in rows)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    async def crash(self) -> None:
        """Kill one process of the server: it ends all others, recovers, and serves again."""
        [[pid]] = await self.query(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        )
        os.kill(pid, signal.SIGKILL)


def _as_user(folder: Path) -> list[str]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    switch = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    # Changing the user resets this setting, so it is made again.
    return [*switch, "setpriv", "--pdeathsig", "KILL"]


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs: Debian has them outside of PATH."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), shutil.which("initdb")]
    return Path(found[0]).resolve().parent if found[0] else None


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[Postgres]:
    """A PostgreSQL (Debian's 15 or what else is installed); skips, or fails if CI is set."""
    programs = _programs()
    if programs is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("postgresql is not installed")
    async with running(lambda folder: Postgres(programs, folder)) as server:
        yield server
