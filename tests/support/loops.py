"""Servers in event loops of both kinds, which run while a test's own coroutine runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from tests.support.servers import Server, serve

T = TypeVar("T")

LOOPS = ("asyncio", "uvloop")


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes loops of this name; `asyncio.Runner` takes it."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # not on Windows

    return uvloop.new_event_loop


def run(loop: str, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new loop of this name."""
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(main)


@contextlib.contextmanager
def serving(app: Any, loop: str, **config: Any) -> Iterator[tuple[Server, asyncio.Runner]]:
    """Serve `app` in a loop of this name, whenever the runner runs something."""
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        context = serve(app, **config)
        server = runner.run(context.__aenter__())
        try:
            yield server, runner
        finally:
            runner.run(context.__aexit__(None, None, None))
