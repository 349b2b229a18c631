"""Scenarios with Redis: two workers, and what Redis does by itself beside them."""

from __future__ import annotations

import json
import time

from tests.benchmarks.connections import Member, Redis, pack
from tests.benchmarks.peer import REDIS_PING, REDIS_PIPELINED, REDIS_PUBLISH
from tests.benchmarks.servers import Figures, Results, Server

EMITS = "emits into many rooms"
UNINVOLVED = "a worker without members of the busy rooms"
ACROSS = "from one worker to the other"

ROOMS = 1000
AT_ONCE = 500
BUSY = 5000
IDLE_MEMBERS = 100
PAUSE = 0.002
WARMUP = 1.5

EMITS_PER_S = "emits_per_s"
WORKER_CPU, REDIS_CPU = "worker_cpu_us_per_emit", "redis_cpu_us_per_emit"
BUSY_CPU, SILENT_CPU = "busy_cpu_percent", "silent_cpu_percent"
P50, P99 = "p50_us", "p99_us"

# What an emit of "hello" to such a room is made of, as Redis would carry it for anybody.
CHANNEL = "wsroom:{/ws\nbusy-1}"
PAYLOAD = '{"event":"noti","message":"hello","sender":null,"room":"busy-1"}'


def emits(server: Server, seconds: str) -> Results:
    """Emits per second of one worker; or what Redis takes of PUBLISH, without any sequence."""
    if server.peer is REDIS_PIPELINED:
        yield EMITS, publishes(server, float(seconds))
        return
    order = {"rooms": ROOMS, "at_once": AT_ONCE, "seconds": float(seconds)}
    with member(server) as caller, Redis(server.redis[0].port) as redis:
        caller.ask("flood", {**order, "seconds": 0.3})
        before = redis.cpu()
        count, elapsed, cpu = caller.ask("flood", order)
        yield (
            EMITS,
            {
                EMITS_PER_S: count / elapsed,
                WORKER_CPU: cpu / count * 1e6,
                REDIS_CPU: (redis.cpu() - before) / count * 1e6,
            },
        )


def publishes(server: Server, seconds: float) -> Figures:
    batch = pack("PUBLISH", CHANNEL, PAYLOAD) * AT_ONCE
    with Redis(server.workers[0].port) as redis:
        before, start, count = redis.cpu(), time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            redis.send(batch)
            redis.receive(b"\r\n", AT_ONCE)
            count += AT_ONCE
        cpu = redis.cpu() - before
    return {EMITS_PER_S: count / elapsed, REDIS_CPU: cpu / count * 1e6}


def uninvolved(server: Server, seconds: str) -> Results:
    """CPU of the second worker, whose members are in another room than those that are busy."""
    order = {"rooms": ROOMS, "rate": BUSY, "seconds": float(seconds)}
    with (
        server.crowd(IDLE_MEMBERS, "/ws", worker=1),
        member(server) as caller,
        member(server, worker=1) as other,
    ):
        server.settle()
        time.sleep(WARMUP)  # for a second more, a worker tidies up after so many handshakes
        start, before = time.perf_counter(), other.ask("cpu")
        time.sleep(float(seconds))
        silent = (other.ask("cpu") - before) / (time.perf_counter() - start)
        start, before = time.perf_counter(), other.ask("cpu")
        count, elapsed = caller.ask("flow", order)
        busy = (other.ask("cpu") - before) / (time.perf_counter() - start)
    yield (
        UNINVOLVED,
        {BUSY_CPU: busy * 100, SILENT_CPU: silent * 100, EMITS_PER_S: count / elapsed},
    )


def across(server: Server, seconds: str) -> Results:
    """From an emit on the first worker to a member on the second; or Redis's own round trips."""
    count = max(int(float(seconds) / PAUSE), 100)
    if server.peer in (REDIS_PING, REDIS_PUBLISH):
        yield ACROSS, round_trips(server, count)
        return
    times: list[int] = []
    with member(server) as caller, member(server, "stamped", worker=1) as hearer:
        server.settle()
        caller.send("stamps", {"count": count, "pause": PAUSE}, id=1)
        while len(times) < count:
            text, now = hearer.receive(), time.monotonic_ns()
            frame = json.loads(text)
            if frame["event"] == "stamp":
                times.append(now - frame["message"])
        caller.answer()
    yield ACROSS, percentiles(times)


def round_trips(server: Server, count: int) -> Figures:
    """PING and its answer; or PUBLISH until a subscriber has it, with the payload of an emit."""
    pings = server.peer is REDIS_PING
    command = pack("PING") if pings else pack("PUBLISH", CHANNEL, PAYLOAD)
    port = server.workers[0].port
    times: list[int] = []
    with Redis(port) as one, Redis(port) as other:
        other.send(pack("SUBSCRIBE", CHANNEL))
        other.receive(b":1\r\n")
        for _ in range(count):
            time.sleep(PAUSE)
            start = time.monotonic_ns()
            one.send(command)
            if not pings:
                other.receive(PAYLOAD.encode())
                times.append(time.monotonic_ns() - start)
            one.receive(b"\r\n")
            if pings:
                times.append(time.monotonic_ns() - start)
    return percentiles(times)


def percentiles(nanoseconds: list[int]) -> Figures:
    ordered = [one / 1000 for one in sorted(nanoseconds)]
    return {P50: ordered[len(ordered) // 2], P99: ordered[int(0.99 * (len(ordered) - 1))]}


def member(server: Server, room: str = "idle", *, worker: int = 0) -> Member:
    """A member that has had its `connected`, so it is in its room."""
    made = Member(server.open(f"/ws?room={room}", worker=worker))
    made.receive()
    return made
