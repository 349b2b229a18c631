"""Measure what counting costs, side by side: `python3 -m tests.benchmarks.counting [FOLDER]`.

Two ways are timed, in CPU of the process: a frame from a client, from the bytes of its connection
to the end of its handler, on a real uvicorn; and an emit, to the `write` of each member's
transport, which does nothing here. The variants are `plain` and `metrics=True`, and with FOLDER,
another checkout (`git worktree add FOLDER COMMIT`), `before`: wsroom as it is there. All are in one
process and take turns of some milliseconds, so that they meet the same disturbances. The ratio is
the median of those of the turns.
"""

from __future__ import annotations

import asyncio
import importlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

TURNS = 400
AT_ONCE = 50
EMITS_AT_ONCE = 8
MEMBERS = (1, 5, 100, 1000)

HERE = Path(__file__).resolve().parents[2]

Work = Callable[[], Awaitable[int]]
"""Does something some times; returns how many times."""


def load(folder: Path) -> Any:
    """Import the package `wsroom` of a folder, beside others that have been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "wsroom"]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        package: Any = importlib.import_module("wsroom")
        assert Path(str(package.__file__)).is_relative_to(folder), package.__file__
        package.writers = importlib.import_module("wsroom.direct.transport_writer")
        package.frames = importlib.import_module("wsroom.delivery.frames")
    finally:
        sys.path.remove(str(folder))
    return package


def masked(text: bytes) -> bytes:
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text  # a mask of zeros changes nothing


async def receiving(app: Any, stops: list[Callable[[], Awaitable[None]]]) -> Work:
    """Handle the frames of a client, with a handler that does nothing."""
    seen = asyncio.Event()
    left = 0

    async def move(emitter: Any, message: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            seen.set()

    app.add_handler("move", move)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
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

    async def stop() -> None:
        writer.close()
        server.should_exit = True
        await task

    async def work() -> int:
        nonlocal left
        for _ in range(10):
            left = AT_ONCE
            seen.clear()
            writer.write(batch)
            await seen.wait()
        return 10 * AT_ONCE

    stops.append(stop)
    return work


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


async def emitting(
    package: Any, app: Any, members: int, stops: list[Callable[[], Awaitable[None]]]
) -> Work:
    """Emit to a room of so many members, some times in a tick."""

    async def nothing(emitter: Any) -> None: ...

    app.add_handler("nothing", nothing)
    hub = app._worker.hub
    await hub.start()
    for _ in range(members):
        id = hub.new_id()
        writer = package.writers.TransportWriter(id, "/ws", Server(), None, hub.outbox, None)
        hub.add(writer)
        await hub.join(writer, "chat")
        writer.open(package.frames.PreparedFrame(b"{}"))
    await asyncio.sleep(0)

    target = app.to("chat")
    ticks = 4 if members > 500 else 30

    async def work() -> int:
        for _ in range(ticks):
            for number in range(EMITS_AT_ONCE):
                await target.emit("said", number)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return ticks * EMITS_AT_ONCE

    stops.append(hub.stop)
    return work


async def compare(name: str, works: dict[str, Work]) -> None:
    """Let the variants take turns, and print a row."""
    turns: dict[str, list[float]] = {variant: [] for variant in works}
    for number in range(TURNS):
        for variant in works if number % 2 else reversed(works):
            start = time.process_time()
            count = await works[variant]()
            turns[variant].append((time.process_time() - start) / count * 1e6)
    first = turns[next(iter(works))]
    cells = []
    for each in turns.values():
        ratio = statistics.median([a / b for a, b in zip(each, first, strict=True)])
        cells.append(f"{statistics.median(each):.2f} | {ratio:.3f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


async def main(folder: Path | None) -> None:
    here = load(HERE)
    variants: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (here, {}),
        "metrics=True": (here, {"metrics": True}),
    }
    if folder is not None:
        variants = {"before": (load(folder), {}), **variants}
    print("| CPU of | " + " | ".join(f"{each}, us | ratio" for each in variants) + " |")
    print("|---|" + "---:|---:|" * len(variants))
    stops: list[Callable[[], Awaitable[None]]] = []

    def apps() -> dict[str, Any]:
        return {
            variant: package.WSRoom(package.MemoryAdapter(), **options)
            for variant, (package, options) in variants.items()
        }

    await compare("a frame", {v: await receiving(app, stops) for v, app in apps().items()})
    for members in MEMBERS:
        works = {
            v: await emitting(variants[v][0], app, members, stops) for v, app in apps().items()
        }
        await compare(f"an emit to {members}", works)
    for stop in stops:
        await stop()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None))
