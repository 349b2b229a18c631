"""A wsroom worker that emits when it is told to, and says what that took."""

# mypy: ignore-errors
import asyncio
import itertools
import time

from wsroom import Limits, Socket, WSRoom

app = WSRoom(limits=Limits(handler_timeout=600))
SLICE = 0.01


@app.on_connect()
async def on_connect(socket: Socket):
    await socket.join(socket.query.get("room", "idle"))


@app.on("cpu")
async def cpu(emitter, message):
    """Tell the seconds of CPU that this worker has used."""
    return time.process_time()


@app.on("flood")
async def flood(emitter, message: dict):
    """Emit as fast as it goes: so many at once, each to the next of so many rooms."""
    targets = itertools.cycle([app.to(f"busy-{n}") for n in range(message["rooms"])])
    counts = []
    start, used = time.perf_counter(), time.process_time()
    end = start + message["seconds"]

    async def emit():
        count = 0
        while time.perf_counter() < end:
            await next(targets).emit("noti", "hello")
            count += 1
        counts.append(count)

    await asyncio.gather(*(emit() for _ in range(message["at_once"])))
    return sum(counts), time.perf_counter() - start, time.process_time() - used


@app.on("flow")
async def flow(emitter, message: dict):
    """Emit at a steady rate, to the rooms in turn."""
    targets = itertools.cycle([app.to(f"busy-{n}") for n in range(message["rooms"])])
    count = 0
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < message["seconds"]:
        due = int(now * message["rate"]) - count
        await asyncio.gather(*(next(targets).emit("noti", "hello") for _ in range(due)))
        count += due
        await asyncio.sleep(SLICE)
    return count, time.perf_counter() - start


@app.on("stamps")
async def stamps(emitter, message: dict):
    """Emit what the clock says, one at a time, with pauses."""
    for _ in range(message["count"]):
        await asyncio.sleep(message["pause"])
        await app.to("stamped").emit("stamp", time.monotonic_ns())
