"""Programs for the TypeScript compiler."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.clock import SECOND
from tests.support.npm import find, installed
from wsroom.asgi.assets import FOLDER

TYPESCRIPT = "typescript@7.0.2"
STRICT = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", "")


def add_client(folder: Path) -> None:
    """Copy wsroom.js and its types, as docs/client.md says."""
    for name in ("wsroom.js", "wsroom.d.ts"):
        (folder / name).write_bytes((FOLDER / name).read_bytes())
    (folder / "package.json").write_text('{"type": "module"}')


def compile_all(folder: Path) -> dict[str, list[str]]:
    """Check all programs of a folder at once, with the types in it; return the errors by file."""
    command = [find("node"), str(installed(TYPESCRIPT) / "typescript" / "bin" / "tsc"), *STRICT]
    files = sorted(path.name for path in folder.glob("*.ts"))
    done = subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True, timeout=60 * SECOND
    )
    errors: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if found := re.match(r"([\w.-]+)\((\d+),\d+\): (.*)", line):
            errors.setdefault(found[1], []).append(f"{found[2]}: {found[3]}")
    assert (done.returncode != 0) == bool(errors), done.stdout + done.stderr
    return errors
