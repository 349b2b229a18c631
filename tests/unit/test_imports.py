"""What the modules may import, and what importing wsroom costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsroom

PACKAGE = Path(wsroom.__file__).parent

BASE = (
    "errors",
    "functions",
    "limits",
    "logs",
    "rates",
    "shared_start",
    "stats",
    "tasks",
    "timing",
)
"""Files at the top of the package that every folder may import."""

CORE = (
    "base", "wire", "schema", "routing", "asgi", "adapters", "delivery", "direct", "api",
    "presence", "connection",
)  # fmt: skip

MAY_IMPORT = {
    "base": (),
    "wire": ("base",),
    "schema": ("base", "wire"),
    # A handler is registered with the check of its messages, which knows no routes.
    "routing": ("base", "wire", "schema"),
    "asgi": ("base", "wire"),
    "adapters": ("base", "wire"),
    "adapters.redis": ("base", "wire", "adapters", "adapters.redis.network"),
    "adapters.redis.network": ("base",),
    "client": ("base", "wire"),
    "delivery": ("base", "wire", "routing", "asgi", "adapters"),
    "api": ("base", "wire", "routing", "asgi", "adapters", "delivery"),
    "direct": ("base", "wire", "asgi", "delivery"),
    "presence": ("base", "wire", "adapters", "delivery"),
    "connection": tuple(room for room in CORE if room != "connection"),
    "describe": ("base", "wire", "routing", "schema"),
    "http_service": ("base", "routing", "asgi", "connection", "describe", "exporter"),
    "metrics": ("base", "routing", "connection"),
    "exporter": ("base", "metrics"),
    "app": (*CORE, "exporter", "metrics", "adapters.redis", "describe", "http_service"),
    "publisher": ("base", "wire", "adapters", "adapters.redis", "adapters.redis.network", "api"),
    "testing": ("base", "wire", "asgi", "adapters"),
    "cli": (
        *(*CORE, "adapters.redis", "adapters.redis.network"),
        *("app", "describe", "exporter", "http_service", "metrics", "publisher"),
    ),
    "rooms": ("wire",),
}
"""The rooms of the house, and what each may import beside itself: downwards only.

Folders on one floor (`routing`, `asgi`, `adapters`, `client`) do not import each other.
"""

PURE = (
    "errors",
    "functions",
    "limits",
    "logs",
    "rates",
    "stats",
    "tasks",
    "wire",
    "schema",
    "routing",
)
"""Files and folders of values and decisions: no I/O, no asyncio, no Redis."""
IMPURE = {"asyncio", "redis", "uvicorn", "socket", "threading", "concurrent"}


UPWARDS = PACKAGE / "routing" / "signatures.py"
"""The one file that imports upwards, for type checkers only: decorators name what functions get."""


def room_of(module: str) -> str:
    """The room of MAY_IMPORT that a module is in."""
    parts = module.removeprefix("wsroom.").split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in MAY_IMPORT:
            return name
        if name in BASE:
            return "base"
    raise AssertionError(f"{module} is in no room of MAY_IMPORT")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    if path == UPWARDS:
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
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


def violations(importer: str, imported: set[str]) -> list[str]:
    """The modules among `imported` that the room of `importer` may not import."""
    room = room_of(importer)
    allowed = {room, *MAY_IMPORT[room]}
    return sorted(other for other in imported if room_of(other) not in allowed)


def test_imports_go_downwards() -> None:
    """A file imports its own folder, and the folders below that MAY_IMPORT names."""
    known = modules()
    outside = {"wsroom", "wsroom.__main__"}
    for name, path in known.items():
        if name not in outside:
            found = {part for part in imports(path) if part in known} - outside
            assert violations(name, found) == [], name


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("wsroom.wire.protocol", "wsroom.delivery.hub"),
        ("wsroom.routing.router", "wsroom.asgi.types"),
        ("wsroom.adapters.memory", "wsroom.adapters.redis.codec"),
        ("wsroom.adapters.redis.network.link", "wsroom.wire.emission"),
        ("wsroom.delivery.hub", "wsroom.api.socket"),
        ("wsroom.errors", "wsroom.wire.protocol"),
    ],
)
def test_the_rule_finds_what_breaks_it(importer: str, imported: str) -> None:
    """An import upwards, sideways, or of rooms by the network is reported."""
    assert violations(importer, {imported}) == [imported]


def test_each_folder_says_what_may_live_there() -> None:
    """The first line of each `__init__.py` is a sentence."""
    for path in PACKAGE.rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert doc.split("\n")[0].endswith("."), path


def test_pure_modules_import_no_io() -> None:
    """A pure module, and all that it imports of wsroom, is without asyncio, Redis and servers."""
    known = modules()
    pure = [n for n in known if n.removeprefix("wsroom.").split(".")[0] in PURE]
    pure += [
        name
        for name, path in known.items()
        if "No I/O and no asyncio here" in (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert len(pure) > 15
    waiting, seen = pure, set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = imports(known[name])
        assert not {part.split(".")[0] for part in found} & IMPURE, name
        waiting += [part for part in found if part in known and part != "wsroom"]


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
