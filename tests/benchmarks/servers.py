"""The peers: how each is started, spoken to and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.lab import HERE, Lab

PEERS = HERE / "peers"
LOG = "server.log"
START_TIMEOUT = 20.0


class Failed(Exception):
    """A peer did not start, or the load generator could not finish; the text says why."""


@dataclass(frozen=True)
class Peer:
    """One server program; `{port}` stands for its port."""

    name: str
    command: tuple[str, ...]
    dialect: str = "plain"

    def load(self, event: str, message: str = "hello") -> list[str]:
        """Give wsload's arguments for connecting and for sending `event`."""
        return [*self.connecting(), "--frame", self.frame(event, message)]

    def connecting(self) -> list[str]:
        if self.dialect == "wsroom":
            return ["--path", "/ws", "--wait-init", "1"]
        if self.dialect == "socketio":
            path = "/socket.io/?EIO=4&transport=websocket"
            return ["--path", path, "--eio", "--init", "40", "--wait-init", "2"]
        return []

    def frame(self, event: str, message: str) -> str:
        if self.dialect == "socketio":
            return "42" + json.dumps([event, message], separators=(",", ":"))
        return json.dumps({"event": event, "message": message}, separators=(",", ":"))

    def membership(self) -> list[str]:
        """Give wsload's arguments for joining and leaving a room in turn, each answered."""
        if self.dialect == "wsroom":
            join = '{"event":"joinRoom","message":"lobby","id":1}'
            leave = '{"event":"leaveRoom","message":"lobby","id":2}'
        else:
            join, leave = self.frame("join", "lobby"), self.frame("leave", "lobby")
        return [*self.connecting(), "--frame", join, "--frame", leave]


def uvicorn(name: str, app: str, dialect: str = "plain") -> Peer:
    command = ("python", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
    quiet = ("--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS))
    return Peer(name, (*command, *quiet, app), dialect)


def python(name: str, file: str) -> Peer:
    return Peer(name, ("python", str(PEERS / file), "{port}"))


def node(name: str, file: str, *arguments: str, dialect: str = "plain") -> Peer:
    return Peer(name, ("node", str(PEERS / file), "{port}", *arguments), dialect)


FLOOR = Peer("C floor", ("floor", "{port}"))
WSROOM = uvicorn("wsroom", "wsroom_app:app", "wsroom")
RAW_ASGI = uvicorn("raw ASGI", "raw_asgi:app")
STARLETTE = uvicorn("Starlette", "starlette_app:app")
SOCKETIO = uvicorn("python-socketio", "socketio_app:app", "socketio")
CHANNELS = uvicorn("Channels", "channels_app:app")
LITESTAR = uvicorn("Litestar", "litestar_app:app")
WEBSOCKETS = python("websockets broadcast()", "websockets_app.py")
PICOWS = python("picows", "picows_app.py")
SOCKETIFY = python("socketify", "socketify_app.py")
NODE_WS = node("Node ws", "node_ws.js")
NODE_WS_DEFLATE = node("Node ws", "node_ws.js", "deflate")
NODE_SOCKETIO = node("Node Socket.IO", "node_socketio.js", dialect="socketio")
ALL = (
    FLOOR,
    WSROOM,
    RAW_ASGI,
    STARLETTE,
    SOCKETIO,
    CHANNELS,
    LITESTAR,
    WEBSOCKETS,
    PICOWS,
    SOCKETIFY,
    NODE_WS,
    NODE_SOCKETIO,
)


class Server:
    """A running peer."""

    def __init__(self, lab: Lab, peer: Peer, process: subprocess.Popen[bytes], port: int) -> None:
        self.lab = lab
        self.peer = peer
        self.process = process
        self.port = port

    def measure(self, *arguments: str) -> dict[str, float]:
        """Let the load generator run; return its figures."""
        self.settle()
        command = [*self.lab.pin_load, str(self.lab.wsload), "--port", str(self.port)]
        command += ["--pid", str(self.process.pid), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            raise Failed("the load generator did not end") from None
        if done.returncode:
            raise Failed((done.stderr.strip() or "the load generator failed").splitlines()[-1])
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def settle(self) -> None:
        """Wait until the server has nothing to do: what an earlier run left is done."""
        before = self._cpu()
        for _ in range(100):
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise Failed(f"the server ended with {self.process.wait(0.1)}")
            now = self._cpu()
            if now - before <= 1:
                return
            before = now

    def _cpu(self) -> int:
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def open(self, target: str, buffer: int | None = None) -> socket.socket:
        """Open a WebSocket by hand, and read no more than the handshake."""
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self.port))
        request = (
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        connection.sendall(request.encode())
        if not connection.recv(1024).startswith(b"HTTP/1.1 101"):
            connection.close()
            raise Failed(f"no WebSocket at {target}")
        return connection

    @contextlib.contextmanager
    def crowd(self, count: int, target: str) -> Iterator[None]:
        """Keep `count` more sockets open."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(self.open(target))
            yield

    @contextlib.contextmanager
    def never_readers(self, target: str) -> Iterator[None]:
        """Keep a member that never reads; a second later the next joins it, and so on.

        One would not do: a server that closes slow members has soon closed it.
        """
        done = threading.Event()
        with contextlib.ExitStack() as stack:

            def keep() -> None:
                while True:
                    with contextlib.suppress(OSError, Failed):
                        stack.enter_context(self.open(target, buffer=4096))
                    if done.wait(1):
                        return

            thread = threading.Thread(target=keep)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()


@contextlib.contextmanager
def serve(lab: Lab, peer: Peer) -> Iterator[Server]:
    """Start `peer` on a free port; end it with the block.

    Raises:
        Failed: it ended, or did not listen in time.

    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = {"python": str(lab.python), "floor": str(lab.floor)}
    command = [programs.get(part, part).format(port=port) for part in peer.command]
    with open(lab.folder / LOG, "wb") as log:
        process = subprocess.Popen(
            [*lab.pin_server, *command],
            stdout=log,
            stderr=log,
            cwd=lab.folder,
            env={**os.environ, "NODE_PATH": str(lab.node_modules)},
        )
    try:
        _wait_for(lab, process, port)
        yield Server(lab, peer, process, port)
    finally:
        process.kill()
        process.wait()


def _wait_for(lab: Lab, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 1) as probe,
        ):
            # A server may be reached by its backlog alone; one that answers serves.
            probe.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            select.select([probe], [], [], 1)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            lines = (lab.folder / LOG).read_text(errors="replace").strip().splitlines()
            raise Failed(f"does not start: {lines[-1] if lines else 'no word of why'}")
    raise Failed(f"does not listen within {START_TIMEOUT:.0f} s")
