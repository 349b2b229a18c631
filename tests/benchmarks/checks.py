"""Measure what the check of a message costs, side by side: `python3 -m tests.benchmarks.checks`.

What is timed is the call that the server makes for a frame of the event: the check, if there is
one, and the start of the handler's coroutine.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel

from wsroom import Emitter, WSRoom

ROUNDS = 100
CALLS = 2_000

MESSAGE = {"room": "chat", "text": "hello there", "number": 5, "x": 1.5, "tags": ["a", "b"]}


class Model(BaseModel):
    room: str
    text: str
    number: int
    x: float
    tags: list[str]


class Struct(msgspec.Struct):
    room: str
    text: str
    number: int
    x: float
    tags: list[str]


@dataclass
class Data:
    room: str
    text: str
    number: int
    x: float
    tags: list[str]


async def without(emitter: Emitter, message: Any) -> None: ...
async def struct(emitter: Emitter, message: Struct) -> None: ...
async def structs(emitter: Emitter, message: Struct | None) -> None: ...
async def model(emitter: Emitter, message: Model) -> None: ...
async def data(emitter: Emitter, message: Data) -> None: ...
async def builtin(emitter: Emitter, message: dict[str, str | float | list[str]]) -> None: ...


KINDS = {
    "no annotation": without,
    "msgspec struct": struct,
    "msgspec struct or None": structs,
    "pydantic model": model,
    "dataclass, by pydantic": data,
    "builtin types": builtin,
}


def frame(app: WSRoom, event: str) -> Callable[[], None]:
    found = app.find("/ws")
    assert found is not None
    function, *_ = found[0].plans[event]
    return lambda: function(None, MESSAGE).close()


def measure() -> dict[str, float]:
    """Return microseconds of CPU for each kind of handler: the best of rounds of all kinds."""
    app = WSRoom()
    for name, function in KINDS.items():
        app.add_handler(name, function)
    calls = {name: frame(app, name) for name in KINDS}
    timers = {name: timeit.Timer(call, timer=time.process_time) for name, call in calls.items()}
    rounds = [
        {name: timer.timeit(CALLS) / CALLS * 1e6 for name, timer in timers.items()}
        for _ in range(ROUNDS)
    ]
    return {name: min(each[name] for each in rounds) for name in KINDS}


if __name__ == "__main__":
    figures = measure()
    print("| `message` | us/frame | for the check |\n|---|---:|---:|")
    for name, figure in figures.items():
        print(f"| {name} | {figure:.2f} | {figure - figures['no annotation']:.2f} |")
