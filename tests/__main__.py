"""Set up what the tests need on a bare machine, then run them all: `python3 -m tests`.

Arguments go to pytest: `python3 -m tests -k rooms`; `python3 -m tests --cov` measures the coverage,
which takes half as long again. Needs nothing but Python 3.11. Without arguments, the tests of the
link run on other versions too.
The last line is pytest's summary.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import versions
from tests.support import paths
from tests.support.paths import ROOT, VENV

BIN = VENV / paths.BIN
WORKERS = max(5, os.cpu_count() or 1)
"""Processes that run tests at the same time: more than processors, as most tests wait for most of
their time."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def run(*command: str | Path) -> None:
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)


def install() -> None:
    if not (BIN / "python").exists():
        run(sys.executable, "-m", "venv", VENV)
    run(BIN / "python", "-m", "pip", "install", "-q", "-e", ".[dev]")
    missing = [] if any(map(shutil.which, CHROMIUM)) else ["chromium"]
    missing += [] if shutil.which("redis-server") else ["redis-server"]
    has_postgres = shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    missing += [] if has_postgres else ["postgresql"]
    if missing and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        run(*sudo, "apt-get", "update", "-qq")
        run(*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    elif "chromium" in missing:  # without Redis or PostgreSQL, their tests skip
        sys.exit("the browser tests need Chromium: install it, then run this again")


def check(pytest_arguments: list[str]) -> None:
    # mypy uses one processor, and installing other versions waits for the network.
    with ThreadPoolExecutor(1) as pool:
        others = None if pytest_arguments else pool.submit(versions.check_versions)
        run(BIN / "ruff", "check", ".")
        run(BIN / "ruff", "format", "--check", ".")
        run(BIN / "mypy")
        if others is not None:
            others.result()
    run(BIN / "pytest", "-n", str(WORKERS), "--dist", "loadgroup", *pytest_arguments)


if __name__ == "__main__":
    try:
        install()
        check(sys.argv[1:])
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)
    except versions.VersionsError as exc:
        sys.exit(str(exc))
