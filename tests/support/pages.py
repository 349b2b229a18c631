"""The pages of the documentation, and the code on them."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import DOCS, EXAMPLES, ROOT
from wsroom import WSRoom

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCE = re.compile(r"(?:<!-- file: (\S+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a page; `file` is the name under which readers save it, if any."""

    line: int
    file: str | None
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(line, match[1], match[2], match[3]))
    return found


def save(page: Path, folder: Path) -> None:
    """Write the page's files into `folder`; blocks of one name follow each other."""
    for block in blocks(page):
        if block.file:
            add(folder / block.file, block.text)


def add(file: Path, text: str) -> None:
    if file.exists():
        text = f"{file.read_text(encoding='utf-8')}\n\n{text}"
    file.write_text(text, encoding="utf-8")


def load_app(folder: Path) -> WSRoom:
    """Import the folder's app.py again by its path; return its `app`."""
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]  # the next folder may have a module of this name
    assert isinstance(module.app, WSRoom)
    return module.app


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"[`*\\]|\]\([^)]*\)|\[", "", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def sections(page: Path) -> dict[str, str]:
    """The text under each heading of the page, by anchor, code blocks left out."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {slug(name): body for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def load_example(folder: str) -> WSRoom:
    """Import examples/FOLDER/app.py again by its path; return its `app`."""
    path = EXAMPLES / folder / "app.py"
    spec = importlib.util.spec_from_file_location(f"examples_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = (
        module  # pydantic and SQLAlchemy look up the names of annotations there
    )
    spec.loader.exec_module(module)
    app = module.app
    assert isinstance(app, WSRoom)
    return app
