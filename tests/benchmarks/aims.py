"""What wsroom is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tests.benchmarks import inbound, joined
from tests.benchmarks import scenarios as names
from tests.benchmarks.peer import (
    FLOOR,
    LITESTAR,
    NODE_WS,
    PICOWS,
    RAW_ASGI,
    SOCKETIFY,
    SOCKETIO,
    WSROOM,
)
from tests.benchmarks.results import Run
from tests.benchmarks.scenarios import CPU, FANOUT, JOINED, MEMORY, P99, RATE


@dataclass(frozen=True)
class Aim:
    """A ratio that wsroom is to reach, or a figure where there is no other to compare it with."""

    scenario: str
    text: str
    one: tuple[str, str]
    other: tuple[str, str] | None
    figure: str
    bound: float
    least: bool = False
    how: Callable[[float, float], float] = lambda one, other: one / other
    unit: str = "x"


def _aim(name: str, text: str, peer: str, figure: str, bound: float, least: bool = False) -> Aim:
    return Aim(name, text, (name, WSROOM.name), (name, peer), figure, bound, least)


def _alone(name: str, text: str, figure: str, bound: float, unit: str, least: bool = False) -> Aim:
    return Aim(name, text, (name, WSROOM.name), None, figure, bound, least, unit=unit)


AIMS = (
    _aim(FANOUT[1], "CPU at most 1.4 x the C floor", FLOOR.name, CPU, 1.4),
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
    _aim(inbound.ECHO, "CPU at most 0.56 x raw ASGI", RAW_ASGI.name, CPU, 0.56),
    _aim(inbound.ECHO_DEFLATE, "CPU at most half of raw ASGI's", RAW_ASGI.name, CPU, 0.5),
    _aim(
        inbound.SMALL_ROOMS,
        "CPU at most 0.48 x raw ASGI",
        RAW_ASGI.name,
        inbound.MESSAGE_CPU,
        0.48,
    ),
    _aim(inbound.PACED_ROOMS, "CPU at most raw ASGI's", RAW_ASGI.name, inbound.MESSAGE_CPU, 1),
    _aim(inbound.CONNECTS, "CPU at most 1.25 x raw ASGI", RAW_ASGI.name, inbound.CONNECT_CPU, 1.25),
    _alone(names.IDLE_SOCKETS, "memory at most 10.5 kB", MEMORY, 10.5, "kB"),
    _alone(names.IDLE_DEFLATE, "memory at most 11 kB", MEMORY, 11, "kB"),
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
    _aim(JOINED[1], "CPU at most 0.6 x Litestar", LITESTAR.name, CPU, 0.6),
    _aim(JOINED[1], "CPU at most a third of python-socketio", SOCKETIO.name, CPU, 1 / 3),
    _aim(JOINED[8], "CPU at most a quarter of Litestar", LITESTAR.name, CPU, 1 / 4),
    _aim(JOINED[8], "CPU at most an eighth of python-socketio", SOCKETIO.name, CPU, 1 / 8),
    _alone(
        joined.EMITS, "at least 20,000 emits/s here", joined.EMITS_PER_S, 20_000, "/s", least=True
    ),
    _alone(joined.UNINVOLVED, "under 2 % CPU here", joined.BUSY_CPU, 2, "%"),
)


def reached(measured: Run) -> str:
    """The table of what was to be reached, and what was."""
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
        rounds = ", ".join(map(shown, values))
        middle = f"{shown(value)} {aim.unit}"
        lines.append(f"| {aim.scenario} | {aim.text} | {middle} | {rounds} | {verdict} |")
    count = f"{missed} of {len(AIMS)} aims missed in this run." if missed else ""
    return "\n".join([*lines, *(["", count] if count else []), ""])


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
