"""Measure what counting costs, side by side: `python3 -m tests.benchmarks.counting [FOLDER]`.

Two ways are timed, in CPU of the process: a frame from a client, from the bytes of its connection
to the end of its handler, on a real uvicorn; and a delivery, from an emit to the `write` of each
member's transport, which does nothing here. Each way has the variants `plain` and `metrics=True`,
and with FOLDER, another checkout (`git worktree add FOLDER COMMIT`), `before`: wsroom as it is
there. The variants take turns, each in a process of its own; the ratio is that of the medians.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

import wsroom
from wsroom import Emitter, MemoryAdapter, WSRoom
from wsroom.direct.transport_writer import TransportWriter

TURNS = 12
FRAMES = 60_000
AT_ONCE = 50
EMITS = 4_000
MEMBERS = (1, 5, 100, 1000)

HERE = Path(__file__).resolve().parents[2]


def masked(text: bytes) -> bytes:
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text  # a mask of zeros changes nothing


async def frames(app: WSRoom) -> float:
    """Return microseconds for each frame of a client, with handlers that do nothing."""
    seen = asyncio.Event()
    left = FRAMES

    @app.on("move")
    async def move(emitter: Emitter, message: Any) -> None:
        nonlocal left
        left -= 1
        if left % AT_ONCE == 0:
            seen.set()

    config = uvicorn.Config(app, port=0, log_level="critical", ws="websockets-sansio")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    batch = masked(b'{"event":"move","message":{"x":10,"y":20}}') * AT_ONCE
    start = time.process_time()
    for _ in range(FRAMES // AT_ONCE):
        seen.clear()
        writer.write(batch)
        await seen.wait()
    elapsed = time.process_time() - start
    writer.close()
    server.should_exit = True
    await task
    return elapsed / FRAMES * 1e6


class Nowhere:
    """A transport that drops what is written."""

    def write(self, data: bytes) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None: ...


class Server:
    transport = Nowhere()
    handshake_complete = True
    close_sent = False


async def deliveries(app: WSRoom, members: int) -> float:
    """Return microseconds for each emit to a room of so many members."""
    hub = app._worker.hub
    await hub.start()
    nothing: Any = None
    for _ in range(members):
        writer = TransportWriter(hub.new_id(), "/ws", Server(), nothing, hub.outbox, nothing)
        hub.add(writer)
        await hub.join(writer, "chat")
        writer.open(nothing_frame())
    await asyncio.sleep(0)
    target = app.to("chat")
    count = max(EMITS // members * 20, 500) if members > 5 else EMITS * 5
    start = time.process_time()
    for number in range(count):
        await target.emit("said", number)
        if number % 8 == 7:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    elapsed = time.process_time() - start
    await hub.stop()
    return elapsed / count * 1e6


def nothing_frame() -> Any:
    from wsroom.delivery.frames import PreparedFrame

    return PreparedFrame(b"{}")


def app_of(variant: str) -> WSRoom:
    options: dict[str, Any] = {"metrics": True} if variant == "metrics=True" else {}
    app = WSRoom(MemoryAdapter(), **options)
    app.add_handler("idle", idle)
    return app


async def idle(emitter: Emitter) -> None: ...


async def measure(variant: str) -> dict[str, float]:
    found = {"a frame": await frames(app_of(variant))}
    for members in MEMBERS:
        name = f"an emit to {members}"
        found[name] = await deliveries(app_of(variant), members)
    return found


def turn(variant: str, folder: Path) -> dict[str, float]:
    code = (
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(HERE)!r}]\n"
        f"from tests.benchmarks import counting; counting.report({variant!r}, {str(folder)!r})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=120, check=True, cwd=os.sep
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(variant: str, folder: str) -> None:
    assert Path(wsroom.__file__).is_relative_to(folder), wsroom.__file__
    print(json.dumps(uvloop.run(measure(variant))))


def main(arguments: list[str]) -> None:
    variants = {"plain": HERE, "metrics=True": HERE}
    if arguments:
        variants = {"before": Path(arguments[0]).resolve(), **variants}
    turns: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for number in range(TURNS):
        order = list(variants) if number % 2 else list(reversed(variants))
        for variant in order:
            turns[variant].append(turn(variant, variants[variant]))
    first = next(iter(variants))
    print("| CPU of | " + " | ".join(f"{v}, us" for v in variants) + " | ratios |")
    print("|---|" + "---:|" * (len(variants) + 1))
    for name in turns[first][0]:
        medians = {v: statistics.median([each[name] for each in turns[v]]) for v in variants}
        ratios = ", ".join(f"{medians[v] / medians[first]:.3f}" for v in list(variants)[1:])
        print(f"| {name} | " + " | ".join(f"{m:.2f}" for m in medians.values()) + f" | {ratios} |")


if __name__ == "__main__":
    main(sys.argv[1:])
