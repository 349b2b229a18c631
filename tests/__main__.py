"""Set up what the tests need on a bare machine, then run them all: `python3 -m tests`.

Arguments go to pytest: `python3 -m tests -k rooms`. Needs nothing but Python 3.11.

Most tests wait for something most of the time, so without arguments they run in two halves at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTEST = [str(BIN / "coverage"), "run", "-m", "pytest"]
BESIDE = tuple(f"tests/{name}" for name in ("faults", "adapters", "redis", "client", "cli"))
"""The half that runs beside the rest: about half of the time, and what starts brokers."""
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
    if missing and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        run(*sudo, "apt-get", "update", "-qq")
        run(*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    elif "chromium" in missing:  # without Redis, its tests skip: those on Valkey are the same
        sys.exit("the browser tests need Chromium: install it, then run this again")


def check(pytest_arguments: list[str]) -> None:
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")
    run(BIN / "mypy")
    run(BIN / "coverage", "erase")
    if pytest_arguments:
        run(BIN / "coverage", "run", "-m", "pytest", *pytest_arguments)
    else:
        check_all()
    run(BIN / "coverage", "combine", "-q")
    # A part of the tests covers a part of the code, which says nothing.
    run(BIN / "coverage", "report", *(["--fail-under=0"] if pytest_arguments else []))


def check_all() -> None:
    with tempfile.TemporaryFile("w+") as output:
        beside = subprocess.Popen(
            [*PYTEST, *BESIDE], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            rest = subprocess.run([*PYTEST, *(f"--ignore={path}" for path in BESIDE)], cwd=ROOT)
            beside.wait()
        finally:
            beside.kill()
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout)
    for code in (rest.returncode, beside.returncode):
        if code:
            sys.exit(code)


if __name__ == "__main__":
    try:
        install()
        check(sys.argv[1:])
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)
