"""docs/benchmarks.md and its chart, made from the figures of one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.benchmarks import scenarios as names
from tests.benchmarks.lab import HERE, Lab, run
from tests.benchmarks.scenarios import FANOUT, GROUPS, Figures
from tests.benchmarks.servers import (
    FLOOR,
    NODE_WS,
    PICOWS,
    RAW_ASGI,
    SOCKETIFY,
    SOCKETIO,
    WSROOM,
)

CPU, RATE, P50, P99 = "cpu_us_per_delivery", "per_s", "p50_us", "p99_us"
MEMORY = "rss_per_client_kb"
BAR_CHARTS = (
    (FANOUT[1], CPU, "server CPU per delivery, us (less is better)"),
    (FANOUT[16], RATE, "deliveries/s (more is better)"),
    (FANOUT[64], RATE, "deliveries/s (more is better)"),
    (names.ECHO, CPU, "server CPU per echo, us (less is better)"),
)

NOTES = {
    FANOUT[1]: "500 members; one sends, all receive, and then it sends the next.",
    FANOUT[16]: "The same with 16 messages under way, as in a room where many talk.",
    FANOUT[64]: "The same with 64.",
    names.ECHO: "100 clients; each sends, waits for its answer, sends again.",
    names.PLAIN_1K: "500 members, a message of 1.1 kB, one in flight; no client offers deflate.",
    names.DEFLATE_1K: "The same; all clients negotiated permessage-deflate.",
    names.ROOM_ALONE: "100 members, one message in flight, nobody else on the server.",
    names.ROOM_AMONG: "The same server a moment later, with 1,000 more sockets in 10 rooms each.",
    names.MEMBERSHIP: "100 clients join and leave a room in turn, each waiting for the answer. "
    "A delivery is an answered join or leave.",
    names.NO_SLOW: "100 members, one message of 8.8 kB in flight.",
    names.SLOW: "The same, and one member more that never reads; each second one joins, "
    "as wsroom closes them. The figures are those of the 100 who read.",
}


@dataclass
class Run:
    """All figures of one run: by scenario, peer and round."""

    machine: str
    seconds: float
    rounds: int
    idle: int
    figures: dict[tuple[str, str], dict[int, Figures]] = field(default_factory=dict)
    failures: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)

    def add(self, number: int, name: str, peer: str, figures: Figures) -> None:
        self.figures.setdefault((name, peer), {})[number] = figures

    def fail(self, number: int, name: str, peer: str, why: str) -> None:
        self.failures.setdefault((name, peer), {})[number] = why

    def peers(self, name: str) -> list[str]:
        return [peer for known, peer in {**self.figures, **self.failures} if known == name]

    def get(self, name: str, peer: str, figure: str) -> float | None:
        rounds = self.figures.get((name, peer), {})
        return median(figures[figure] for figures in rounds.values()) if rounds else None

    def compare(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        figure: str,
        how: Callable[[float, float], float],
    ) -> list[float]:
        """Compare two figures within each round."""
        ones, others = self.figures.get(one, {}), self.figures.get(other, {})
        return [
            how(ones[number][figure], others[number][figure])
            for number in ones
            if number in others and others[number][figure]
        ]


@dataclass(frozen=True)
class Aim:
    """A ratio that wsroom is to reach."""

    scenario: str
    text: str
    one: tuple[str, str]
    other: tuple[str, str]
    figure: str
    bound: float
    least: bool = False
    how: Callable[[float, float], float] = lambda one, other: one / other
    unit: str = "x"


def _aim(name: str, text: str, peer: str, figure: str, bound: float, least: bool = False) -> Aim:
    return Aim(name, text, (name, WSROOM.name), (name, peer), figure, bound, least)


AIMS = (
    _aim(FANOUT[1], "CPU at most 1.4 x the C floor", FLOOR.name, CPU, 1.4),
    _aim(FANOUT[1], "CPU below socketify", SOCKETIFY.name, CPU, 1),
    _aim(FANOUT[1], "CPU below picows", PICOWS.name, CPU, 1),
    _aim(FANOUT[1], "CPU below Node ws", NODE_WS.name, CPU, 1),
    _aim(FANOUT[16], "deliveries/s at least 6 x Node ws", NODE_WS.name, RATE, 6, True),
    _aim(FANOUT[16], "deliveries/s at least 25 x python-socketio", SOCKETIO.name, RATE, 25, True),
    _aim(FANOUT[64], "deliveries/s at least 20 x Node ws", NODE_WS.name, RATE, 20, True),
    _aim(FANOUT[64], "deliveries/s at least 4 x socketify", SOCKETIFY.name, RATE, 4, True),
    Aim(
        names.DEFLATE_1K,
        "CPU at most 1.5 x the same without deflate",
        (names.DEFLATE_1K, WSROOM.name),
        (names.PLAIN_1K, WSROOM.name),
        CPU,
        1.5,
    ),
    _aim(names.ECHO, "CPU at most raw ASGI's", RAW_ASGI.name, CPU, 1),
    Aim(
        names.IDLE_SOCKETS,
        "memory at most raw ASGI + 3 kB",
        (names.IDLE_SOCKETS, WSROOM.name),
        (names.IDLE_SOCKETS, RAW_ASGI.name),
        MEMORY,
        3,
        how=lambda one, other: one - other,
        unit="kB more",
    ),
    Aim(
        names.SLOW,
        "p99 of the others at most 1.2 x that without",
        (names.SLOW, WSROOM.name),
        (names.NO_SLOW, WSROOM.name),
        P99,
        1.2,
    ),
    Aim(
        names.ROOM_AMONG,
        "CPU about that of the room alone (1.1 x)",
        (names.ROOM_AMONG, WSROOM.name),
        (names.ROOM_ALONE, WSROOM.name),
        CPU,
        1.1,
    ),
)


def in_short(figures: Figures) -> str:
    return (
        f"{figures[CPU]:.2f} us, {figures[RATE]:,.0f}/s, p50 {figures[P50]:.0f} us, "
        f"p99 {figures[P99]:.0f} us, {figures[MEMORY]:.1f} kB/client"
    )


def write(lab: Lab, measured: Run, docs: Path) -> None:
    """Write benchmarks.md and benchmarks.png into `docs`."""
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


def page(measured: Run) -> str:
    parts = [
        "# Benchmarks\n",
        "wsroom and its peers under load, all measured in one run on one machine. "
        "[tests/benchmarks](../tests/benchmarks/) wrote this page.\n",
        f"Machine: {measured.machine}. "
        f"Rounds: {measured.rounds}, of {measured.seconds:g} s a figure.\n",
        "![Bar charts of the figures below](benchmarks.png)\n",
        aims(measured),
        "## The figures\n",
    ]
    parts += [table(measured, name) for group in GROUPS for name in group.names]
    parts.append((HERE / "notes.md").read_text(encoding="utf-8"))
    return "\n".join(part for part in parts if part)


def aims(measured: Run) -> str:
    lines = ["## Aim and reached\n", "| scenario | aim | reached | by round | |"]
    lines.append("|---|---|---|---|---|")
    missed = 0
    for aim in AIMS:
        values = measured.compare(aim.one, aim.other, aim.figure, aim.how)
        if not values:
            lines.append(f"| {aim.scenario} | {aim.text} | | | not measured |")
            continue
        value = median(values)
        good = [one >= aim.bound if aim.least else one <= aim.bound for one in (value, *values)]
        missed += not good[0]
        verdict = "yes" if good[0] else "**missed**"
        if len(set(good)) > 1:
            verdict += ", but rounds differ"
        rounds = ", ".join(f"{one:.2f}" for one in values)
        reached = f"{value:.2f} {aim.unit}"
        lines.append(f"| {aim.scenario} | {aim.text} | {reached} | {rounds} | {verdict} |")
    count = f"{missed} of {len(AIMS)} aims missed in this run." if missed else ""
    return "\n".join([*lines, *(["", count] if count else []), ""])


def table(measured: Run, name: str) -> str:
    """One scenario's table: the best first, those that failed last."""
    peers = measured.peers(name)
    if not peers:
        return ""
    cells: tuple[str, ...]
    if name == names.IDLE_SOCKETS:
        note = f"{measured.idle:,} connections that say nothing."
        if measured.idle < names.IDLE:
            note += " The limit of open files allowed no more."
        head = ["kB/client", "server MB"]
        key, cells = MEMORY, (MEMORY, "rss_mb")
    else:
        note = NOTES[name]
        head = ["CPU us/delivery", "deliveries/s", "p50 us", "p99 us"]
        key, cells = CPU, (CPU, RATE, P50, P99)
        if name == FANOUT[1]:
            head, cells = [*head, "kB/client"], (*cells, MEMORY)
    peers.sort(key=lambda peer: measured.get(name, peer, key) or float("inf"))
    lines = [f"### {name[0].upper()}{name[1:]}\n", note, ""]
    lines += [f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    lines += [row(measured, name, peer, cells) for peer in peers]
    return "\n".join([*lines, ""])


def row(measured: Run, name: str, peer: str, cells: tuple[str, ...]) -> str:
    shown = f"**{peer}**" if peer == WSROOM.name else peer
    failures = list(measured.failures.get((name, peer), {}).values())
    if (name, peer) not in measured.figures:
        why = failures[0].replace("|", " ")[:120]
        return f"| {shown} | failed: {why} |" + " |" * (len(cells) - 1)
    if RATE in cells and not measured.get(name, peer, RATE):
        return f"| {shown} | nobody got anything |" + " |" * (len(cells) - 1)
    values = [number(measured.get(name, peer, cell) or 0) for cell in cells]
    if failures:
        shown += f" (failed in {len(failures)} of {measured.rounds} rounds)"
    return f"| {shown} | {' | '.join(values)} |"


def number(value: float) -> str:
    """Three digits that count, and the whole of large numbers."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
