"""Several workers without a shared adapter: a refused start, on every server that shows it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.peers import WAIT
from tests.support.processes import eventually
from tests.support.servers import program
from wsroom import SetupError, WSRoom
from wsroom.asgi.worker_count import count_workers

APP = """
import uvicorn
from fastapi import FastAPI
from wsroom import WSRoom

app = WSRoom()

@app.on("say")
async def say(emitter, message):
    await emitter.emit("said", message)

api = FastAPI()
api.mount("/rt", app)

if __name__ == "__main__":
    uvicorn.run("app:app", port=0, workers=2)
"""
SENTENCE = "WSROOM_REDIS_URL"

GUNICORN = ["-m", "gunicorn", "app:app", "-b", "127.0.0.1:0", "-w", "2"]
STARTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "uvicorn --workers": (["-m", "uvicorn", "app:app", "--port", "0", "--workers", "2"], {}),
    "WEB_CONCURRENCY": (["-m", "uvicorn", "app:app", "--port", "0"], {"WEB_CONCURRENCY": "2"}),
    "uvicorn.run": (["app.py"], {}),
    "hypercorn": (["-m", "hypercorn", "app:app", "--bind", "127.0.0.1:0", "-w", "2"], {}),
    "gunicorn": ([*GUNICORN, "-k", "uvicorn.workers.UvicornWorker"], {}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize("start", STARTS)
async def test_several_workers_on_memory_are_a_refused_start(start: str, folder: Path) -> None:
    """The sentence says what to set, no request is served, and the parent process ends."""
    args, env = STARTS[start]
    async with program(*args, cwd=folder, env=env) as server:
        await server.end(timeout=40)
    assert SENTENCE in server.output and "2 workers" in server.output
    assert "startup complete" not in server.output


@pytest.mark.parametrize(
    "args, last_line",
    [
        (["--reload"], "startup complete"),
        (["--reload", "--workers", "2"], "startup complete"),
        (["--workers", "1"], "Uvicorn running on"),
    ],
)
async def test_one_worker_starts(args: list[str], last_line: str, folder: Path) -> None:
    """`--reload` is one worker: uvicorn ignores --workers then."""
    port = free_port()
    command = ["-m", "uvicorn", "app:app", "--port", str(port), *args]
    async with program(*command, cwd=folder) as server:
        await server.line(last_line)

        async def connected() -> bool:
            async with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=WAIT):
                return True

        assert await eventually(connected)  # with --reload that line comes before it listens


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_a_mounted_app_that_refuses_is_not_ready(folder: Path, http: str) -> None:
    """A load balancer must not send it sockets, which it would refuse."""
    port = free_port()
    command = ["-m", "uvicorn", "app:api", "--port", str(port), "--workers", "2", "--http", http]
    async with program(*command, cwd=folder) as server:
        for _ in range(2):
            await server.line("Application startup complete")
        async with httpx.AsyncClient(timeout=WAIT) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/rt/readyz")).status_code == 503
        assert "2 workers" in await server.line(SENTENCE)


async def test_a_mounted_app_refuses_at_the_first_connection(folder: Path) -> None:
    """Without a lifespan that is the first check: 503, and the sentence in the log."""
    port = free_port()
    command = ["-m", "uvicorn", "app:api", "--port", str(port), "--workers", "2"]
    async with program(*command, cwd=folder) as server:
        for _ in range(2):
            await server.line("Application startup complete")
        with pytest.raises(Exception, match="HTTP 503"):
            async with connect(f"ws://127.0.0.1:{port}/rt/ws", open_timeout=WAIT):
                pass
        assert "2 workers" in await server.line(SENTENCE)


def free_port() -> int:
    """A port that was free a moment ago; uvicorn's children do not report theirs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def receiving(**config: Any) -> Any:
    owner = SimpleNamespace(config=SimpleNamespace(**config))
    return SimpleNamespace(__self__=owner)


WORKER_CLASS = SimpleNamespace(cfg=SimpleNamespace(workers=3))


@pytest.mark.parametrize(
    "receive, argv, environ, count",
    [
        (receiving(workers=4), ["uvicorn"], {}, 4),
        (receiving(workers=4, reload=True), ["uvicorn"], {}, 1),
        (receiving(workers=1), ["uvicorn", "--workers", "4"], {}, 1),
        (receiving(), ["uvicorn"], {}, 1),
        (
            receiving(workers=1, callback_notify=SimpleNamespace(__self__=WORKER_CLASS)),
            ["gunicorn"],
            {},
            3,
        ),
        (None, ["/usr/bin/gunicorn", "-w", "2"], {}, 2),
        (None, ["/lib/gunicorn/__main__.py", "-w", "2"], {}, 2),
        (None, ["/lib/granian/__main__.py", "--workers", "2"], {}, 2),
        (None, ["gunicorn", "-w2"], {}, 2),
        (None, ["gunicorn", "--workers=5"], {"GUNICORN_CMD_ARGS": "-w 2"}, 5),
        (None, ["gunicorn"], {"GUNICORN_CMD_ARGS": "--workers 2"}, 2),
        (None, ["gunicorn"], {"WEB_CONCURRENCY": "6"}, 6),
        (None, ["granian", "--workers", "2", "app:app"], {}, 2),
        (None, ["granian"], {"GRANIAN_WORKERS": "2"}, 2),
        (None, ["granian", "--workers", "many"], {}, 1),
        (None, ["pytest", "-w", "2"], {"WEB_CONCURRENCY": "6"}, 1),
        (None, [], {}, 1),
    ],
)
def test_workers_are_counted(
    receive: Any, argv: list[str], environ: dict[str, str], count: int
) -> None:
    """From the server's settings, or else from gunicorn's and granian's command lines."""
    assert count_workers(receive, argv, environ, child=True) == count
    alone = count_workers(receive, argv, environ, child=False)
    assert alone == (count if "gunicorn" in argv[:1] or receive is None else 1)


def test_a_redis_url_is_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid URL must not give an app that silently runs without Redis."""
    monkeypatch.setenv("WSROOM_REDIS_URL", "http://127.0.0.1")
    with pytest.raises(SetupError, match="not a URL of Redis"):
        WSRoom()
