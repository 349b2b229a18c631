"""Describing an app to other programs: `wsroom asyncapi` and `wsroom types`."""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsroom.cli.apps import load_parts
from wsroom.describe import contract_of
from wsroom.errors import SetupError, WSRoomError
from wsroom.schema.asyncapi import document
from wsroom.schema.contract import Contract
from wsroom.schema.python_types import declarations as python
from wsroom.schema.typescript import declarations as typescript


class Outdated(WSRoomError):
    """A file is not what the app describes any more."""


def contract(target: str) -> Contract:
    """Load an app, or one that has WSRooms mounted, and describe all of it."""
    parts = [contract_of(part.app, part.app.docs, part.mount) for part in load_parts(target)]
    if len(parts) == 1:
        return parts[0]
    paths = tuple(path for part in parts for path in part.paths)
    return replace(parts[0], paths=paths)


def asyncapi(target: str, *, as_yaml: bool, builtins: bool) -> str:
    """Return the AsyncAPI document of an app as JSON, or as YAML.

    Raises:
        SetupError: the app cannot be loaded or described, or PyYAML is not installed.

    """
    described = document(contract(target), builtins=builtins)
    return _yaml(described) if as_yaml else json.dumps(described, indent=2, ensure_ascii=False)


def _yaml(described: Mapping[str, Any]) -> str:
    try:
        import yaml
    except ImportError:
        raise SetupError("--yaml needs PyYAML: pip install pyyaml") from None

    # Each value once: an anchor for those that occur twice cannot be read by people.
    plain = json.loads(json.dumps(described))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def types(target: str, *, for_python: bool) -> str:
    """Return the types of an app's events, for TypeScript or for Python."""
    return (python if for_python else typescript)(contract(target))


def check(file: Path, text: str) -> None:
    """Raise Outdated if a file does not have this text; it shows the first difference."""
    try:
        old = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise SetupError(f"{file} cannot be read: {exc.strerror}") from None
    if old == text:
        return
    changes = list(difflib.unified_diff(old.splitlines(), text.splitlines(), lineterm="", n=0))
    changed = [line for line in changes[2:] if line[0] in "+-"]
    shown = "\n".join(changed[:10] or ["(only the end of the file)"])
    raise Outdated(f"{file} is out of date; make it again with --output {file}:\n{shown}")


def write(file: Path, text: str) -> bool:
    """Write a file if it has another text, so that nothing is built again for nothing."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return False
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SetupError(f"{file} cannot be written: {exc.strerror}") from None
    return True


def watch(target: str, file: Path, *, for_python: bool) -> None:
    """Write the types of an app into a file, again whenever a Python file of this folder changes.

    Each time the app is loaded in a new process, because modules cannot be imported again.
    """
    from watchfiles import PythonFilter
    from watchfiles import watch as changes

    command = [sys.executable, "-m", "wsroom", "types", target, "--output", str(file)]
    command += ["--python"] if for_python else []
    current = False
    # It yields nothing at first, when it watches already: so no change is missed.
    for changed in changes(
        Path.cwd(),
        watch_filter=PythonFilter(ignore_paths=[file.resolve()]),
        rust_timeout=300,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        if changed or not current:
            subprocess.run(command, check=False)
            current = True
