"""The module of `wsroom types --python`, by `mypy --strict`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import SECOND
from tests.support.contracts import CONTRACTS, board
from tests.support.paths import STRICT_CACHE
from wsroom.schema.contract import Contract
from wsroom.schema.python_types import declarations

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("typing")]

PROGRAM = """
from typing import Literal, assert_type

from events_of_board import NewCard, Changed, WsSocket
from wsroom.client import connect


async def main() -> None:
    socket: WsSocket = connect("ws://127.0.0.1:8000/ws", buffer=10)

    async def moved(card: Changed, sender: str | None) -> None:
        assert_type(card["column"], Literal["todo", "doing", "done"])
        print(card["text"], sender)

    socket.on("card", moved)

    @socket.on("card")
    def once_more(card: Changed) -> None:
        print(card["version"])

    stop = socket.on("said", lambda line: print(line["text"].upper()))
    socket.on("joinedRoom", lambda message: print(message["room"]))
    socket.on("*", print)
    socket.off("card")
    async with socket:
        await socket.join_room("board:work", last=50)
        new: NewCard = {"board": "work", "text": "Write"}
        number: int = await socket.request("add", new)
        await socket.request("move", {"board": "work", "card": number, "column": "done"}, timeout=5)
        await socket.emit("typing", {"board": "work"}, volatile=True)
        async for event in socket.events("card", "said"):
            print(event.message)
        await socket.emit("typng", {"board": "work"})  # refused
        await socket.emit("card", new)  # refused
        await socket.emit("typing", {"baord": "work"})  # refused
        await socket.emit("say", {"board": "work"})  # refused
        await socket.emit("say")  # refused
        await socket.request("move", {"board": "w", "card": 1, "column": "later"})  # refused
        text: str = await socket.request("add", new)  # refused
        socket.on("crad", print)  # refused
        socket.on("said", moved)  # refused
        socket.events("crad")  # refused
    stop()
    print(text)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of all contracts."""
    folder = tmp_path_factory.mktemp("python_types")
    for name, contract in all_contracts().items():
        (folder / module_of(name)).write_text(declarations(contract))
    (folder / "program.py").write_text(PROGRAM)
    return folder


def module_of(name: str) -> str:
    return f"events_of_{name.replace(' ', '_')}.py"


def all_contracts() -> dict[str, Contract]:
    return {**CONTRACTS, "board": board()}


@pytest.fixture(scope="module")
def errors(folder: Path) -> list[str]:
    """What one run of mypy reports."""
    (folder / "mypy.ini").write_text("[mypy]\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--config-file=mypy.ini",
        f"--cache-dir={STRICT_CACHE}",
    ]
    files = sorted(path.name for path in folder.glob("*.py"))
    done = subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True, timeout=120 * SECOND
    )
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_the_modules_are_strict(errors: list[str]) -> None:
    """Of models of any names, recursive ones, and strange schemas."""
    assert [line for line in errors if not line.startswith("program.py")] == []


def test_a_program_with_wrong_events_is_refused(folder: Path, errors: list[str]) -> None:
    """Each line with the comment `refused` has an error, and no other line has one."""
    lines = (folder / "program.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    found = {int(match[1]) for e in errors if (match := re.match(r"program\.py:(\d+)", e))}
    assert found == marked, errors


@pytest.mark.parametrize("name", all_contracts())
def test_the_modules_can_be_imported(name: str, folder: Path) -> None:
    """They run on the Python that is in use."""
    file = folder / module_of(name)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sockets = [each for each in vars(module) if re.search(r"Socket\d?$", each)]
    assert len(sockets) == 1 + len(all_contracts()[name].paths)
