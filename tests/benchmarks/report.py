"""docs/benchmarks.md, its chart and its raw figures, made from the figures of one run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import inbound, joined
from tests.benchmarks import scenarios as names
from tests.benchmarks.aims import reached
from tests.benchmarks.lab import HERE, Lab, run
from tests.benchmarks.peer import WSROOM
from tests.benchmarks.results import Run
from tests.benchmarks.scenarios import (
    CPU,
    FANOUT,
    GROUPS,
    HISTORY,
    JOINED,
    JOINED_TALK,
    MEMORY,
    P50,
    P99,
    RATE,
    TURNS,
)
from tests.benchmarks.servers import Figures

HEADS = {
    CPU: "CPU us/delivery",
    RATE: "deliveries/s",
    P50: "p50 us",
    P99: "p99 us",
    MEMORY: "kB/client",
    "rss_mb": "server MB",
    inbound.MESSAGE_CPU: "CPU us/message",
    inbound.MESSAGES: "messages/s",
    inbound.CONNECT_CPU: "CPU us/connect",
    inbound.CONNECTS_PER_S: "connects/s",
    joined.EMITS_PER_S: "emits/s",
    joined.WORKER_CPU: "worker CPU us/emit",
    joined.REDIS_CPU: "Redis CPU us/emit",
    joined.BUSY_CPU: "CPU %",
    joined.SILENT_CPU: "CPU % without emits",
}
DELIVERY = (CPU, RATE, P50, P99)
MESSAGE = (inbound.MESSAGE_CPU, inbound.MESSAGES, P50, P99)
COLUMNS = {
    FANOUT[1]: (*DELIVERY, MEMORY),
    inbound.SMALL_ROOMS: MESSAGE,
    inbound.PACED_ROOMS: MESSAGE,
    inbound.CONNECTS: (inbound.CONNECT_CPU, inbound.CONNECTS_PER_S),
    names.IDLE_SOCKETS: (MEMORY, "rss_mb"),
    names.IDLE_DEFLATE: (MEMORY, "rss_mb"),
    joined.EMITS: (joined.EMITS_PER_S, joined.WORKER_CPU, joined.REDIS_CPU),
    joined.UNINVOLVED: (joined.BUSY_CPU, joined.SILENT_CPU, joined.EMITS_PER_S),
    joined.ACROSS: (P50, P99),
}
"""A table is sorted by the first; more is better of none but emits."""

BAR_CHARTS = (
    (FANOUT[1], CPU, "server CPU per delivery, us (less is better)"),
    (FANOUT[16], RATE, "deliveries/s (more is better)"),
    (FANOUT[64], RATE, "deliveries/s (more is better)"),
    (inbound.ECHO, CPU, "server CPU per echo, us (less is better)"),
    (inbound.SMALL_ROOMS, inbound.MESSAGE_CPU, "server CPU per message, us (less is better)"),
    (inbound.PACED_ROOMS, inbound.MESSAGE_CPU, "server CPU per message, us (less is better)"),
    (JOINED[1], CPU, "CPU of both workers and Redis per delivery, us (less is better)"),
    (JOINED[8], CPU, "CPU of both workers and Redis per delivery, us (less is better)"),
)

NOTES = {
    FANOUT[1]: "500 members; one sends a message, all receive it, and then it sends the next.",
    FANOUT[16]: "The same with 16 messages in flight, as in a room with many active members.",
    FANOUT[64]: "The same with 64.",
    inbound.ECHO: f"{inbound.TALKERS} clients; each sends a message, waits for the answer, and "
    "sends the next.",
    inbound.ECHO_DEFLATE: "The same; all clients negotiated permessage-deflate, as browsers do, "
    "and their messages are deflated.",
    inbound.SMALL_ROOMS: f"{inbound.PLAYERS:,} clients in rooms of 4, as in a game. Each sends a "
    "move to its room, and sends the next when the other three have received it. The CPU is that "
    "of a move and its three deliveries. (socketify's `publish` sends to the sender too.)",
    inbound.PACED_ROOMS: f"The same at {inbound.PACE:,} moves a second, all clients together, at "
    "regular intervals. So a server mostly handles one move at a time.",
    inbound.CONNECTS: f"{inbound.CONNECTING:,} clients connect, up to 64 at a time. wsroom's "
    "join a room in `on_connect`, and are connected when they have received `connected`.",
    names.PLAIN_1K: "500 members, a message of 1.1 kB, one in flight; no client offers deflate.",
    names.DEFLATE_1K: "The same; all clients negotiated permessage-deflate.",
    names.IDLE_SOCKETS: "Connections that send no messages: {idle:,}.",
    names.IDLE_DEFLATE: "The same; all clients negotiated permessage-deflate, as browsers do.",
    names.ROOM_ALONE: "100 members, one message in flight, no other sockets on the server.",
    names.ROOM_AMONG: "The same server a moment later, with 1,000 more sockets in 10 rooms each.",
    names.MEMBERSHIP: "100 clients join and leave a room in turn, each waiting for the answer. "
    "A delivery is an answered join or leave.",
    names.NO_SLOW: "100 members, one message of 8.8 kB in flight. Measured "
    f"{TURNS} times in each round, alternating with the next; the round's figures are the medians.",
    names.SLOW: "The same, plus one member that never reads. A new one joins every second, because "
    "wsroom closes them. The figures are those of the 100 members that read. A server with few "
    "deliveries here stalled, and its p99 covers the time before the stall.",
    HISTORY[1]: "500 members. The memory adapter keeps the last 100 messages of each room for "
    "clients that reconnect, as in all figures above; `MemoryAdapter(history=0)` keeps none.",
    HISTORY[64]: "The same with 64.",
    JOINED[1]: "200 members, half on each of two workers that Redis connects; the sender is on the "
    "first. The CPU is that of both workers and of Redis together.",
    JOINED[8]: "The same with 8 in flight, all from one sender. wsroom runs the handlers of one "
    "socket one after the other, and each waits for Redis, unless they are `concurrent=True`; "
    "python-socketio runs them concurrently, and those of Litestar do not wait.",
    JOINED_TALK: "The same with one in flight from each of 8 senders, 4 on each worker.",
    joined.EMITS: f"One worker, {joined.AT_ONCE} emits at a time, to {joined.ROOMS:,} rooms in "
    "turn, all without members. A script in Redis gives each emit its place in its room's order "
    "and history; the emit is done when Redis has answered. For comparison: how many plain PUBLISH "
    f"the same Redis handles, {joined.AT_ONCE} in one write, from a client that does no other "
    "work.",
    joined.UNINVOLVED: f"The first worker emits {joined.BUSY:,} times a second to {joined.ROOMS:,} "
    f"rooms; the second has {joined.IDLE_MEMBERS} members, in another room.",
    joined.ACROSS: "The time from just before an emit on one worker until a member on the other "
    f"has read it, one at a time, {joined.PAUSE * 1000:g} ms apart; and, for comparison, what the "
    "same Redis takes alone.",
}


def in_short(name: str, figures: Figures) -> str:
    told = [f"{number(figures[key])} {HEADS[key]}" for key in columns(name) if key in figures]
    return ", ".join(told)


def write(lab: Lab, measured: Run, docs: Path) -> None:
    """Write benchmarks.md, benchmarks.png and benchmarks.json into `docs`."""
    charts = []
    for name, figure, label in BAR_CHARTS:
        bars = {peer: measured.get(name, peer, figure) for peer in measured.peers(name)}
        shown = {peer: value for peer, value in bars.items() if value}
        if shown:
            charts.append({"title": name, "label": label, "bars": shown})
    data = lab.folder / "charts.json"
    data.write_text(json.dumps(charts))
    if charts:
        run(lab.python, HERE / "chart.py", data, docs / "benchmarks.png")
    (docs / "benchmarks.md").write_text(page(measured), encoding="utf-8")
    (docs / "benchmarks.json").write_text(raw(measured), encoding="utf-8")


def raw(measured: Run) -> str:
    """All figures of the tables, round by round; a line for each scenario and peer."""
    head = {"machine": measured.machine, "seconds": measured.seconds, "rounds": measured.rounds}
    lines = [
        {"scenario": name, "peer": peer, **measured.rounds_of(name, peer, columns(name))}
        for group in GROUPS
        for name in group.names
        for peer in measured.peers(name)
    ]
    figures = ",\n".join(json.dumps(line) for line in lines)
    return f'{json.dumps(head)[:-1]},\n"figures": [\n{figures}\n]}}\n'


def page(measured: Run) -> str:
    parts = [
        "# Benchmarks\n",
        "wsroom and its peers under load, all measured in one run on one machine. "
        "[tests/benchmarks](../tests/benchmarks/) generated this page and "
        "[all the figures, round by round](benchmarks.json).\n",
        f"Machine: {measured.machine}. "
        f"Rounds: {measured.rounds}, of {measured.seconds:g} s a figure.\n",
        "![Bar charts of the figures below](benchmarks.png)\n",
        reached(measured),
        "## The figures\n",
    ]
    parts += [table(measured, name) for group in GROUPS for name in group.names]
    parts.append((HERE / "notes.md").read_text(encoding="utf-8"))
    return "\n".join(part for part in parts if part)


def columns(name: str) -> tuple[str, ...]:
    return COLUMNS.get(name, DELIVERY)


def table(measured: Run, name: str) -> str:
    """One scenario's table: the best first, those that failed last."""
    peers = measured.peers(name)
    if not peers:
        return ""
    note = NOTES[name].format(idle=measured.idle)
    if name in (names.IDLE_SOCKETS, names.IDLE_DEFLATE) and measured.idle < names.IDLE:
        note += " The limit of open files allowed no more."
    cells = columns(name)
    sign = -1 if cells[0] == joined.EMITS_PER_S else 1
    peers.sort(key=lambda peer: sign * (measured.get(name, peer, cells[0]) or sign * float("inf")))
    lines = [f"### {name[0].upper()}{name[1:]}\n", note, ""]
    lines += [f"| | {' | '.join(HEADS[cell] for cell in cells)} |", "|---|" + "---:|" * len(cells)]
    lines += [row(measured, name, peer, cells) for peer in peers]
    return "\n".join([*lines, ""])


def row(measured: Run, name: str, peer: str, cells: tuple[str, ...]) -> str:
    shown = f"**{peer}**" if peer == WSROOM.name else peer
    failures = list(measured.failures.get((name, peer), {}).values())
    if (name, peer) not in measured.figures:
        why = failures[0].replace("|", " ")[:120]
        return f"| {shown} | failed: {why} |" + " |" * (len(cells) - 1)
    rate = next((cell for cell in cells if cell in (RATE, inbound.MESSAGES)), None)
    if rate is not None and not measured.get(name, peer, rate):
        return f"| {shown} | no message arrived |" + " |" * (len(cells) - 1)
    figures = [measured.get(name, peer, cell) for cell in cells]
    values = ["" if figure is None else number(figure) for figure in figures]
    if failures:
        shown += f" (failed in {len(failures)} of {measured.rounds} rounds)"
    return f"| {shown} | {' | '.join(values)} |"


def number(value: float) -> str:
    """Three digits that count, and the whole of large numbers."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
