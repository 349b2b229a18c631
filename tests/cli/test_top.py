"""`wsroom top`: the numbers of a real server, in a real terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import SECOND
from tests.support.commands import run
from tests.support.peers import peer
from tests.support.servers import Server, serve
from wsroom import Emitter, WSRoom
from wsroom.cli.top import Snapshot, View, metrics_url, short


def chat() -> WSRoom:
    app = WSRoom(metrics=True)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> Any:
        return message

    return app


def base(server: Server) -> str:
    return server.url("", "http")


async def test_once_prints_the_numbers_of_an_interval(tmp_path: Path) -> None:
    """Sockets, rooms, and how many frames came between two looks."""
    async with serve(chat()) as server, peer(server) as a:
        url = base(server)
        await a.join("one")
        await a.join("two")
        talking = asyncio.create_task(talk(a))
        text = await run("top", url, "--once", "--interval", "0.5", cwd=tmp_path)
        talking.cancel()
    lines = text.splitlines()
    assert lines[0] == f"wsroom top - {url}/metrics - workers: 1"
    assert lines[2].startswith("sockets 1   rooms 2   memberships 2   adapter up, waiting 0")
    (say,) = [line.split() for line in lines if line.startswith("say ")]
    assert say[1] == "/ws" and float(say[2].rstrip("k")) > 0 and float(say[3]) >= 0
    assert any(line.split() == ["/ws", "1", "0"] for line in lines)


async def talk(a: Any) -> None:
    while True:
        await a.request("say")
        await asyncio.sleep(0.01)


class Terminal:
    """`wsroom top` on a pseudo-terminal; a thread reads what it draws."""

    def __init__(self, *arguments: str) -> None:
        self._file, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wsroom", "top", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )
        os.close(inner)
        self.text = ""
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._file, 65536)
            except OSError:  # the program has ended
                data = b""
            with self._changed:
                self.text += data.decode(errors="replace")
                self._changed.notify_all()
            if not data:
                return

    def wait_for(self, part: str, start: int = 0) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: part in self.text[start:], 20 * SECOND)
            assert found, self.text

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20 * SECOND)


@pytest.mark.timeout(90 * SECOND)
async def test_it_draws_again_until_ctrl_c() -> None:
    """On the terminal's other screen, which it leaves; a server that is gone is waited for."""
    app = chat()
    async with serve(app) as server:
        port = server.port
        screen = await asyncio.to_thread(Terminal, base(server), "--interval", "0.2")
        await asyncio.to_thread(screen.wait_for, "sockets 0   rooms 0")
        async with peer(server) as a:
            await a.join("one")
            await asyncio.to_thread(screen.wait_for, "sockets 1   rooms 1")
    await asyncio.to_thread(screen.wait_for, "cannot be reached")
    seen = len(screen.text)
    async with serve(app, port=port):
        await asyncio.to_thread(screen.wait_for, "sockets 0   rooms 0", seen)
    assert await asyncio.to_thread(screen.interrupt) == 0
    await asyncio.to_thread(screen.wait_for, "\x1b[?1049l")
    assert screen.text.startswith("\x1b[?1049h") and "Traceback" not in screen.text


async def test_without_an_app_it_fails_with_the_reason(tmp_path: Path) -> None:
    """Nobody listens, no metrics, or another program's."""
    assert "cannot be reached" in await run(
        "top", "http://127.0.0.1:1", "--once", cwd=tmp_path, code=1
    )
    async with serve(WSRoom(http=None)) as server:
        said = await run("top", base(server), "--once", cwd=tmp_path, code=1)
        assert "answered 404; is it WSRoom(metrics=True)?" in said
        said = await run("top", base(server) + "/healthz", "--once", cwd=tmp_path, code=1)
        assert "has no metrics of wsroom" in said


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("localhost:8000", "http://localhost:8000/metrics"),
        ("http://h/", "http://h/metrics"),
        ("wss://h:1", "https://h:1/metrics"),
        ("https://h/shop/metrics?x=1", "https://h/shop/metrics?x=1"),
    ],
)
def test_the_url_may_be_short(url: str, asked: str) -> None:
    """The address of the app is enough."""
    assert metrics_url(url) == asked


@pytest.mark.parametrize("url", ["file:///etc/passwd", "redis://h", "http://"])
def test_other_urls_are_refused(url: str) -> None:
    """Nothing but HTTP is opened."""
    with pytest.raises(ValueError, match="is not the URL of an app"):
        metrics_url(url)


def test_labels_cannot_draw() -> None:
    """Escapes of the text format are read; control characters are not printed."""
    text = (
        "wsroom_workers 1\n"
        'wsroom_events_received_total{path="/ws",event="a\\"b\\\\c\x1b[2J\\n"} 5\n'
        "other_metric 7\n"
    )
    found = Snapshot.read(text, 0.0)
    assert found.of("wsroom_events_received_total") == [
        ({"path": "/ws", "event": 'a"b\\c?[2J?'}, 5.0)
    ]
    assert "\x1b" not in "".join(View(found, found).lines("url"))


def test_totals_that_fall_are_no_negative_speed() -> None:
    """After a restart of the app the speed is 0."""
    before = Snapshot.read("wsroom_frames_received_total 500\n", 0.0)
    now = Snapshot.read("wsroom_frames_received_total 3\n", 2.0)
    assert "in 0 frames/s" in "\n".join(View(before, now).lines("url"))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (3.14159, "3.1"), (1234, "1234"), (123.4, "123"), (12_345, "12.3k"),
        (123_456, "123k"), (12_345_678, "12.3M"), (5e10, "50G"),
    ],
)  # fmt: skip
def test_numbers_are_short(number: float, text: str) -> None:
    """They fit their columns."""
    assert short(number) == text
