"""What type checkers say about the code of users: ours, generated, and documented."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import PAGES, Block, add, blocks
from tests.support.paths import STRICT_CACHE
from wsroom.cli.scaffold import create_controller, create_project

HERE = Path(__file__).parent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("typing")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


async def strict(cache: Path, folder: Path, *flags: str) -> str:
    """Run `mypy --strict` on the files of a folder; return what it reports."""
    files = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    (cache / "mypy.ini").write_text("[mypy]\n[mypy-asyncpg.*]\nignore_missing_imports = True\n")
    command = ["--strict", "--no-error-summary", f"--cache-dir={STRICT_CACHE}"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mypy", f"--config-file={cache}/mypy.ini", *command),
        *(*flags, *files),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


def copy(name: str, folder: Path) -> str:
    text = (HERE / name).read_text(encoding="utf-8")
    (folder / name).write_text(text, encoding="utf-8")
    return text


async def test_mypy_refuses_wrong_functions_in_decorators(cache: Path, tmp_path: Path) -> None:
    """Each line with the comment `refused` has an error, and no other line has one."""
    text = copy("refused.py", tmp_path)
    marked = [n for n, line in enumerate(text.splitlines(), 1) if line.endswith("# refused")]
    output = await strict(cache, tmp_path)
    found = {int(line) for line in re.findall(r"^refused\.py:(\d+): error", output, re.MULTILINE)}
    assert sorted(found) == marked, output


async def test_mypy_accepts_every_form_of_function(cache: Path, tmp_path: Path) -> None:
    """Functions of one or two arguments, async or not, methods, partials: no error."""
    copy("accepted.py", tmp_path)
    assert await strict(cache, tmp_path) == ""


async def test_generated_code_is_strict(cache: Path, tmp_path: Path) -> None:
    """The project of `wsroom new`, with a controller, passes `mypy --strict`."""
    project = create_project("my-chat", tmp_path)
    create_controller("ChatController", "/chat", project)
    assert await strict(cache, project) == ""


def in_its_lines(found: list[Block]) -> Iterator[str]:
    """The blocks, in the lines of their page."""
    line = 1
    for block in found:
        yield "\n" * (block.line - line) + block.text
        line = block.line + block.text.count("\n")


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("page", [p for p in PAGES if python_of(p)], ids=lambda page: page.name)
async def test_documented_code_is_strict(cache: Path, tmp_path: Path, page: Path) -> None:
    """The code of each page passes `mypy --strict`; later blocks may define a name again."""
    for block in python_of(page):
        if block.file:
            add(tmp_path / block.file, block.text)
    rest = [block for block in python_of(page) if not block.file]
    name = page.stem.replace("-", "_").lower()
    (tmp_path / f"page_{name}.py").write_text("".join(in_its_lines(rest)))
    again = ("--allow-redefinition", "--disable-error-code=no-redef")
    assert await strict(cache, tmp_path, *again) == ""
