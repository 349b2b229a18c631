"""The examples of docs/deploying.md, as far as the programs that they are for are installed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.typing import Origin

from tests.support.certificates import Certificate
from tests.support.clock import until
from tests.support.pages import blocks, save
from tests.support.paths import ROOT
from tests.support.peers import WAIT, Peer
from tests.support.servers import program, serve
from wsroom import Limits, Socket, WSRoom

PAGE = ROOT / "docs" / "deploying.md"


def example(language: str) -> str:
    """Return the only block of a language."""
    (block,) = [each for each in blocks(PAGE) if each.language == language]
    return block.text


def found(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def flags_of(command: list[str]) -> list[str]:
    """Return uvicorn's arguments, with any free port and one worker."""
    assert command[0].endswith("uvicorn")
    line = " ".join(command[1:])
    return re.sub(r"--port 8000", "--port 0", re.sub(r" --workers 4", "", line)).split()


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "sh": lambda text: shlex.split(text.replace("\\\n", "")),
    "ini": lambda text: shlex.split(re.findall("ExecStart=(.*)", text)[0]),
    "dockerfile": lambda text: json.loads(re.findall("CMD (.*)", text)[0]),
}


@pytest.mark.parametrize("language", COMMANDS)
async def test_the_command_line_starts_a_server(language: str, tmp_path: Path) -> None:
    """With the app of the page; TERM ends it."""
    save(PAGE, tmp_path)
    (tmp_path / "draining.py").rename(tmp_path / "app.py")
    command = COMMANDS[language](example(language))
    async with program("-m", "uvicorn", *flags_of(command), cwd=tmp_path) as run:
        await run.line("Uvicorn running on")
        run.process.terminate()
        await run.end()
    assert "Application shutdown complete" in run.output


async def test_usr1_drains_the_worker(tmp_path: Path) -> None:
    """Clients are told to come back, the probes say that it is not ready; then TERM ends it."""
    save(PAGE, tmp_path)
    probes = yaml.safe_load(example("yaml"))["spec"]["containers"][0]
    ready = probes["readinessProbe"]["httpGet"]["path"]
    alive = probes["livenessProbe"]["httpGet"]["path"]
    assert "kill -USR1 1" in probes["lifecycle"]["preStop"]["exec"]["command"][2]
    async with program("-m", "uvicorn", "draining:app", "--port", "0", cwd=tmp_path) as run:
        address = (await run.line("Uvicorn running on")).split("http://")[1].split(" ")[0]
        async with httpx.AsyncClient() as http, connect(f"ws://{address}/ws") as websocket:
            client = Peer(websocket)
            await client.expect("connected")
            for path in (ready, alive):
                assert (await http.get(f"http://{address}{path}")).status_code == 200
            run.process.send_signal(signal.SIGUSR1)
            assert await client.closed() == 1012
            assert (await http.get(f"http://{address}{ready}")).status_code == 503
            assert (await http.get(f"http://{address}{alive}")).status_code == 200
        run.process.terminate()
        await run.end()


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


class Proxied:
    """An app behind a proxy, which notes the addresses of its clients."""

    def __init__(self) -> None:
        self.app = WSRoom(limits=Limits(connections_per_address=1))
        self.clients: list[object] = []
        self.app.on_connect()(self._note)

    async def _note(self, socket: Socket) -> None:
        self.clients.append(socket.client and socket.client[0])


async def passes_through(proxied: Proxied, url: str, context: ssl.SSLContext | None = None) -> None:
    """A page of the proxy's own host can connect, and cannot choose its address."""
    host = url.split("/")[2]
    scheme = "https" if url.startswith("wss") else "http"

    name, port = host.split(":")
    await until(lambda: listens(name, int(port)))
    async with connect(
        url,
        origin=Origin(f"{scheme}://{host}"),
        additional_headers={"X-Forwarded-For": "10.9.8.7"},
        ssl=context,
        open_timeout=WAIT,
    ) as websocket:
        client = Peer(websocket)
        await client.expect("connected")
        await client.join("chat")
    assert proxied.clients == ["127.0.0.1"]


async def test_nginx_passes_websockets_on(tmp_path: Path, certificate: Certificate) -> None:
    """The example, with another port and certificate."""
    nginx, proxied, port = found("nginx"), Proxied(), free_port()
    async with serve(proxied.app, forwarded_allow_ips="127.0.0.1") as server:
        text = example("nginx").replace("listen 443", f"listen 127.0.0.1:{port}")
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        text = re.sub(r"/etc/ssl/\S+(?=;)", certificate.file, text)
        text = text.replace("/var/log/nginx", str(tmp_path))
        temporary = "".join(
            f"{name}_temp_path {tmp_path}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;\n"
            f"events {{}}\nhttp {{\n{temporary}{text}}}\n"
        )
        run = await asyncio.create_subprocess_exec(
            nginx, "-p", str(tmp_path), "-e", "stderr", "-c", "nginx.conf",
            stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        try:
            url = f"wss://127.0.0.1:{port}/ws?token=secret"
            await passes_through(proxied, url, certificate.context)
        finally:
            run.terminate()
            output, _ = await run.communicate()
    assert b"[emerg]" not in output and b"[warn]" not in output, output
    assert '"GET /ws" 101' in (tmp_path / "chat.log").read_text()


async def test_caddy_passes_websockets_on(tmp_path: Path) -> None:
    """The example, with another address and without a certificate of its own."""
    caddy, proxied, port = found("caddy"), Proxied(), free_port()
    async with serve(proxied.app, forwarded_allow_ips="127.0.0.1") as server:
        text = example("caddy").replace("chat.example.com {", f"http://127.0.0.1:{port} {{")
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        (tmp_path / "Caddyfile").write_text(text.replace("{\n", "{\n    admin off\n", 1))
        run = await asyncio.create_subprocess_exec(
            caddy, "run", "--config", "Caddyfile", "--adapter", "caddyfile",
            cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        )  # fmt: skip
        try:
            await passes_through(proxied, f"ws://127.0.0.1:{port}/ws")
        finally:
            run.terminate()
            output, _ = await run.communicate()
    assert b'"level":"error"' not in output, output


async def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify`, with a program that exists."""
    analyze, unit = found("systemd-analyze"), tmp_path / "chat.service"
    text = example("ini").replace("/srv/chat/venv/bin/uvicorn", sys.executable)
    unit.write_text(text.replace("User=chat\n", ""))
    run = await asyncio.create_subprocess_exec(
        analyze, "verify", "--man=no", str(unit), stdout=PIPE, stderr=STDOUT
    )
    output, _ = await run.communicate()
    assert b"chat.service" not in output, output
