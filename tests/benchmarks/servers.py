"""The peers' processes: started, put under load, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.connections import open_websocket
from tests.benchmarks.lab import Lab
from tests.benchmarks.peer import REDIS, Peer

Figures = dict[str, float]
Results = Generator[tuple[str, Figures], None, None]

START_TIMEOUT = 20.0
URLS = ("REDIS_URL", "WSROOM_REDIS_URL")
"""What tells the peers, each in its own words, which Redis joins them."""


def medians(slices: Sequence[Figures]) -> Figures:
    """Give the median of each figure that all slices have."""
    return {
        key: statistics.median(one[key] for one in slices)
        for key in slices[0]
        if all(key in one for one in slices)
    }


class Failed(Exception):
    """A peer did not start, or the load generator could not finish; the text says why."""


@dataclass(frozen=True)
class Running:
    """A process that listens."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu(self) -> int:
        """Its time, user and kernel, in ticks."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


class Server:
    """A running peer: one worker, or two and the Redis that joins them."""

    def __init__(self, lab: Lab, peer: Peer, workers: list[Running], redis: list[Running]) -> None:
        self.lab = lab
        self.peer = peer
        self.workers = workers
        self.redis = redis
        self.processes = workers + redis

    def measure(self, *arguments: str) -> Figures:
        """Let the load generator run; return its figures."""
        self.settle()
        ports = ",".join(str(worker.port) for worker in self.workers)
        pids = ",".join(str(one.process.pid) for one in self.processes)
        command = [*self.lab.pin_load, str(self.lab.wsload), "--port", ports, "--pid", pids]
        if self.lab.pin_load and not self.redis:  # Redis may need the load generator's core
            command.append("--awake")
        try:
            done = subprocess.run(
                [*command, *arguments], capture_output=True, text=True, timeout=180
            )
        except subprocess.TimeoutExpired:
            raise Failed("the load generator did not end") from None
        if done.returncode:
            raise Failed((done.stderr.strip() or "the load generator failed").splitlines()[-1])
        figures: Figures = json.loads(done.stdout)
        return figures

    def settle(self) -> None:
        """Wait until the server has nothing to do: what an earlier run left is done."""
        before = self._cpu()
        for _ in range(100):
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise Failed(f"the server ended with {self.workers[0].process.wait(0.1)}")
            now = self._cpu()
            if now - before <= len(self.processes):
                return
            before = now

    def _cpu(self) -> int:
        return sum(one.cpu() for one in self.processes)

    def open(self, target: str, buffer: int | None = None, *, worker: int = 0) -> socket.socket:
        """Open a WebSocket by hand, and read no more than the handshake."""
        return open_websocket(self.workers[worker].port, target, buffer)

    @contextlib.contextmanager
    def crowd(self, count: int, target: str, *, worker: int = 0) -> Iterator[None]:
        """Keep `count` more sockets open."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(self.open(target, worker=worker))
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
                    with contextlib.suppress(OSError):
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
    with contextlib.ExitStack() as stack:
        redis, url, workers = [], {}, 1
        if peer.joined:
            redis.append(stack.enter_context(_start(lab, REDIS, {})))
            url = dict.fromkeys(URLS, f"redis://127.0.0.1:{redis[0].port}")
            workers = 2
        started = [stack.enter_context(_start(lab, peer, url)) for _ in range(workers)]
        yield Server(lab, peer, started, redis)


@contextlib.contextmanager
def _start(lab: Lab, peer: Peer, environment: Mapping[str, str]) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = {"python": str(lab.python), "floor": str(lab.floor), "redis": str(lab.redis)}
    command = [programs.get(part, part).format(port=port) for part in peer.command]
    # Redis is not held to the workers' core, nor to that of the load generator.
    pin = [] if peer.dialect == REDIS.dialect else lab.pin_server
    inherited = {name: value for name, value in os.environ.items() if name not in URLS}
    log_file = lab.folder / f"server-{port}.log"
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            [*pin, *command],
            stdout=log,
            stderr=log,
            cwd=lab.folder,
            env={**inherited, **environment, "NODE_PATH": str(lab.node_modules)},
        )
    try:
        _wait_for(process, port, log_file)
        yield Running(process, port)
    finally:
        process.kill()
        process.wait()
        log_file.unlink()


def _wait_for(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
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
            lines = log_file.read_text(errors="replace").strip().splitlines()
            raise Failed(f"does not start: {lines[-1] if lines else 'no word of why'}")
    raise Failed(f"does not listen within {START_TIMEOUT:.0f} s")
