"""Finding and importing the user's app, and listing what is registered in it."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from wsroom.app import WSRoom
from wsroom.errors import SetupError
from wsroom.functions import name_of
from wsroom.routing.callbacks import Registration


class MountedApp(NamedTuple):
    """A WSRoom, and the path under which it is mounted."""

    mount: str
    app: WSRoom


class Row(NamedTuple):
    """One line of `wsroom routes`."""

    path: str
    kind: str
    name: str
    function: str
    where: str


def load(target: str) -> Any:
    """Import "module:attribute", also from the current folder.

    Raises:
        SetupError: it does not exist, or importing it failed; the message is one sentence.

    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise SetupError(f"{target!r} does not name an app; use module:name, like app:app")
    if module_name.endswith(".py"):
        raise SetupError(f"{target!r} names a file; use {module_name[:-3]}:{attribute}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name != module_name.partition(".")[0]:
            raise SetupError(f"{module_name} cannot be imported: {exc}{_line_of(exc)}") from exc
        raise SetupError(
            f"there is no module {module_name!r} in {Path.cwd()}; go to the app's folder first"
        ) from None
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
        raise SetupError(f"{module_name} cannot be imported: {reason}{_line_of(exc)}") from exc
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise SetupError(f"{module_name} has no {attribute!r}; check the name of the app")
        value = getattr(value, name)
    return value


def _line_of(exc: Exception) -> str:
    if isinstance(exc, SyntaxError):
        return ""  # its text has the line
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [frame for frame in frames if "importlib" not in frame.filename][1:]
    return f" ({ours[-1].filename}, line {ours[-1].lineno})" if ours else ""


def find(app: Any, mount: str = "") -> Iterator[MountedApp]:
    """Find the WSRooms in an ASGI app: itself, or those that it has mounted."""
    if isinstance(app, WSRoom):
        yield MountedApp(mount, app)
        return
    routes = getattr(app, "routes", None)  # Starlette's and FastAPI's
    for route in routes if isinstance(routes, list) else ():
        if hasattr(route, "app") and hasattr(route, "path"):
            yield from find(route.app, mount + route.path)


def load_parts(target: str) -> list[MountedApp]:
    """Load an app and find its WSRooms; raises SetupError if there are none."""
    value = load(target)
    parts = list(find(value))
    if not parts:
        kind = type(value).__name__
        raise SetupError(f"{target!r} is a {kind} without a WSRoom; name the WSRoom itself")
    return parts


def rows(part: MountedApp) -> Iterator[Row]:
    """List the pages of a WSRoom, and the hooks, guards and events of each path."""
    for (path, page), found in groupby(
        part.app.registrations(), key=lambda each: (part.mount + each.path, each.kind == "page")
    ):
        lines = [_row(path, each) for each in found]
        if not page and not any(line.kind == "guard" for line in lines):
            hooks = sum(line.kind == "hook" for line in lines)
            lines.insert(hooks, Row(path, "guard", "-", "any client may join any room", ""))
        yield from lines


def _row(path: str, found: Registration) -> Row:
    code = inspect.unwrap(found.function)
    try:
        file = Path(inspect.getsourcefile(code) or "")
        where = f"{file.name}:{inspect.getsourcelines(code)[1]}"
    except (OSError, TypeError):
        where = ""
    kind = "event, concurrent" if found.concurrent else found.kind
    return Row(path, kind, found.name, name_of(found.function), where)


def table(lines: list[Row]) -> str:
    """Format rows in columns, with a head."""
    head = Row("PATH", "WHAT", "NAME", "FUNCTION", "WHERE")
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    )


def name_of_app(file: Path) -> str:
    """Find the name of the app in a file without running it.

    It is the app that mounts a WSRoom, or else `app`, or else the first variable to which a WSRoom
    is assigned.

    Raises:
        SetupError: the file cannot be read, or has no app.

    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except OSError as exc:
        raise SetupError(f"{file} cannot be read ({exc.strerror}); name the app's file") from None
    except (SyntaxError, ValueError) as exc:
        raise SetupError(f"{file} is not Python: {exc}") from None
    names = dict(_assigned(tree))
    rooms = [name for name, maker in names.items() if maker == "WSRoom"]
    mounts = dict(_mounted(tree))
    for name in rooms:
        if name in mounts:
            return _outermost(name, mounts)
    if "app" in names:
        return "app"
    if not rooms:
        raise SetupError(f"{file} has no app; write: app = WSRoom()")
    return rooms[0]


def _assigned(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, ""
        for target in _targets(node):
            if isinstance(target, ast.Name):
                yield target.id, _maker(getattr(node, "value", None))


def _targets(node: ast.stmt) -> list[Any]:
    return node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]


def _mounted(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield pairs of a variable and the one that it is mounted in."""
    for node in tree.body:
        for call in ast.walk(node):
            if not isinstance(call, ast.Call) or _maker(call) not in ("mount", "Mount"):
                continue
            # api.mount("/rt", rt), or api = Starlette(routes=[Mount("/rt", rt)])
            outer: list[Any] = [getattr(call.func, "value", None)]
            if _maker(call) == "Mount":
                outer = _targets(node)
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            yield from (
                (inner.id, name.id)
                for inner in given
                for name in outer
                if isinstance(inner, ast.Name) and isinstance(name, ast.Name)
            )


def _outermost(name: str, mounts: dict[str, str]) -> str:
    seen = set()
    while name in mounts and name not in seen:
        seen.add(name)
        name = mounts[name]
    return name


def _maker(value: ast.AST | None) -> str:
    if not isinstance(value, ast.Call):
        return ""
    return getattr(value.func, "attr", getattr(value.func, "id", ""))
