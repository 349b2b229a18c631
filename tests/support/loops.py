"""The event loops that servers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOPS = ("asyncio", "uvloop")


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes loops of this name; use it with `asyncio.Runner`."""
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # not on Windows

    return uvloop.new_event_loop
