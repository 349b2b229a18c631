"""What the modules may import, and what importing wsroom costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import wsroom

PACKAGE = Path(wsroom.__file__).parent
PURE = (
    "asgi callbacks controllers errors frames handshake history limits patterns protocol recovery "
    "rooms routing servers "
    "adapters.redis.feeds adapters.redis.records adapters.redis.subscriptions"
).split()
"""Modules of values and decisions."""
IMPURE = {"asyncio", "redis", "uvicorn", "socket", "threading", "concurrent"}


def imports(path: Path, *, typing: bool = True) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def modules() -> dict[str, Path]:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def test_pure_modules_import_no_io() -> None:
    """A pure module, and all that it imports of wsroom, is without asyncio, Redis and servers."""
    known = modules()
    waiting = [f"wsroom.{name}" for name in PURE]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = imports(known[name])
        assert not {part.split(".")[0] for part in found} & IMPURE, name
        waiting += [part for part in found if part in known and part != "wsroom"]
    for name in PURE:
        assert "No I/O and no asyncio here" in (
            ast.get_docstring(ast.parse(known[f"wsroom.{name}"].read_text())) or ""
        ), name


def test_imports_form_no_circle() -> None:
    """No module imports, directly or not, a module that imports it."""
    known = modules()
    graph = {
        name: {part for part in imports(path) if part in known and part != name}
        for name, path in known.items()
        if name != "wsroom"
    }

    def reach(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        for other in graph.get(name, ()):
            if not other.startswith(name + "."):
                reach(other, (*path, name))

    for name in graph:
        reach(name, ())


def test_modules_stay_small() -> None:
    """A module is 350 lines at most."""
    sizes = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: size for name, size in sizes.items() if size > 350} == {}


def test_importing_needs_the_three_dependencies_only() -> None:
    """Neither pydantic nor anything else that is not depended on is imported."""
    code = (
        "import sys; import wsroom, wsroom.testing;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    third = {name for name in loaded if not name.startswith("_")} - set(sys.stdlib_module_names)
    assert third - {"wsroom", "orjson", "uvicorn", "redis", "hiredis"} <= site_startup()


def test_the_client_is_imported_by_who_uses_it() -> None:
    """`wsroom.client` is there without an import of its own, and costs nobody else anything."""
    code = (
        "import sys, wsroom, wsroom.testing; before = 'websockets' in sys.modules;"
        "print(before, 'wsroom.client' in sys.modules, wsroom.client.connect.__name__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False", "connect"]


def site_startup() -> set[str]:
    """What an interpreter of this environment loads before it does anything."""
    code = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())
