"""The commands of `wsroom`, run in process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.support.peers import WAIT
from wsroom.cli.main import main


async def run(*arguments: str, cwd: Path, code: int = 0, env: dict[str, str] | None = None) -> str:
    """Run a command in a thread, as it may use an event loop; return its output."""
    output = io.StringIO()
    with surroundings(cwd, env or {}), redirect_stdout(output), redirect_stderr(output):
        async with asyncio.timeout(6 * WAIT):
            ended = await asyncio.to_thread(call, arguments)
    assert ended == code, output.getvalue()
    return output.getvalue()


def call(arguments: Sequence[str]) -> object:
    try:
        return main(arguments)
    except SystemExit as exc:  # raised by argparse
        return exc.code


@contextlib.contextmanager
def surroundings(cwd: Path, env: dict[str, str]) -> Iterator[None]:
    """Imitate a process of its own: a folder, variables, no modules of another test."""
    path, modules, environ = sys.path.copy(), set(sys.modules), os.environ.copy()
    os.environ.update(env)
    importlib.invalidate_caches()
    try:
        with contextlib.chdir(cwd):
            yield
    finally:
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environ)
        for name in set(sys.modules) - modules:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(cwd)):
                del sys.modules[name]
