"""Every example starts, serves its page and accepts a connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.pages import load_example
from tests.support.paths import EXAMPLES
from tests.support.peers import WAIT, peer
from tests.support.servers import Server, serve

FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/app.py"))

PATHS = {"chat": "/ws?name=Ada", "redis_workers": "/ws?name=Ada"}
"""The path of an example's WebSocket, if it is not /ws."""


async def get(server: Server, path: str) -> tuple[int, str]:
    """GET a path; return the status and the body."""
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


def test_every_folder_of_examples_has_an_app() -> None:
    """A folder in examples/ holds an app.py, so that the tests below find it."""
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert folders == FOLDERS


async def path_of(folder: str, server: Server) -> str:
    if folder != "board":
        return PATHS.get(folder, "/ws")
    async with httpx.AsyncClient(base_url=server.url("", "http"), timeout=WAIT) as client:
        login = await client.post("/login", json={"name": "ada", "password": "lovelace"})
    return f"/ws?token={login.json()['token']}"


@pytest.mark.parametrize("folder", FOLDERS)
async def test_an_example_runs(
    folder: str,
    quiet: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An example serves a page of HTML at / and greets a WebSocket client."""
    monkeypatch.setenv("BOARD_DATABASE", f"sqlite:///{tmp_path / 'board.db'}")
    async with serve(load_example(folder)) as server:
        status, page = await get(server, "/")
        assert status == 200
        assert "<!doctype html>" in page.lower()
        async with peer(server, await path_of(folder, server)) as client:
            assert client.id


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_example_says_how_to_run_it(folder: str) -> None:
    """The first lines of an example hold the command that runs it."""
    header = (EXAMPLES / folder / "app.py").read_text(encoding="utf-8").splitlines()[:3]
    assert f"uvicorn --app-dir examples/{folder} app:app" in " ".join(header)
