"""A project of Vite and TypeScript that uses the types of the board."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from starlette.staticfiles import StaticFiles

from tests.support.browsers import open_page
from tests.support.clock import SECOND
from tests.support.contracts import board
from tests.support.npm import find, installed
from tests.support.pages import load_example
from tests.support.servers import serve
from tests.support.typescript import TYPESCRIPT, add_client
from wsroom.schema.typescript import declarations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("browser")]

VITE = "vite@8.4.0"

PAGE = """\
<!doctype html>
<title>Board</title>
<ul id="cards"></ul>
<script type="module" src="/src/main.ts"></script>
"""

MAIN = """\
import type { Paths, Changed } from "./events";
import { connect, WSRoomError } from "./wsroom";

const body = JSON.stringify({ name: "ada", password: "lovelace" });
const headers = { "Content-Type": "application/json" };
const login = await fetch("/login", { method: "POST", body, headers });
const { token } = await login.json();

const socket = connect<Paths["/ws"]>("/ws", { params: { token } });
const cards = new Map<number, Changed>();

socket.on("card", (card) => {
  cards.set(card.id, card);
  const lines = [...cards.values()].map(({ text, column }) => `${text}: ${column}`);
  document.querySelector("#cards")!.textContent = lines.join(", ");
});

try {
  await socket.joinRoom("board:work");
  const id = await socket.request("add", { board: "work", text: "Write" });
  await socket.request("move", { board: "work", card: id, column: "done" });
} catch (error) {
  if (error instanceof WSRoomError) console.error(error.code);
}
"""

WRONG = MAIN.replace('column: "done"', 'colunm: "done"')

CONFIG = {
    "compilerOptions": {
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
        "strict": True,
        "noEmit": True,
    },
    "include": ["src"],
}


def project(folder: Path, main: str) -> Path:
    """Write the project, with the packages that are installed already."""
    source = folder / "src"
    source.mkdir(parents=True)
    add_client(source)
    (source / "package.json").replace(folder / "package.json")
    (source / "events.d.ts").write_text(declarations(board()))
    (source / "main.ts").write_text(main)
    (folder / "index.html").write_text(PAGE)
    (folder / "tsconfig.json").write_text(json.dumps(CONFIG))
    config = 'export default { build: { target: "es2022" }, cacheDir: ".vite" };\n'
    (folder / "vite.config.js").write_text(config)
    (folder / "node_modules").symlink_to(installed(VITE, TYPESCRIPT))
    return folder


def node(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a package's program in the project."""
    command = [find("node"), f"node_modules/{script}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50 * SECOND)


def compile_project(folder: Path) -> str:
    return node(folder, "typescript/bin/tsc", "--noEmit").stdout


async def test_a_project_compiles_builds_and_runs(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tsc --noEmit` and `vite build`, without errors; the built page works with the board."""
    monkeypatch.setenv("BOARD_DATABASE", f"sqlite:///{tmp_path / 'board.db'}")
    folder = await asyncio.to_thread(project, tmp_path / "project", MAIN)
    assert await asyncio.to_thread(compile_project, folder) == ""
    built = await asyncio.to_thread(node, folder, "vite/bin/vite.js", "build", "--base", "./")
    assert built.returncode == 0, built.stdout + built.stderr
    app = load_example("board")
    api = sys.modules["examples_board"].api
    api.mount("/built", StaticFiles(directory=folder / "dist", html=True))
    async with serve(app) as server:
        page = await open_page(browser, server.url("/built/", "http"))
        await expect(page.locator("#cards")).to_have_text("Write: done")


def test_a_wrong_message_does_not_compile(tmp_path: Path) -> None:
    """The error names the misspelt key."""
    said = compile_project(project(tmp_path / "project", WRONG))
    assert "src/main.ts(21,59): error" in said and "'colunm' does not exist in type 'Move'" in said
