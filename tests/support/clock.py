"""Time in the tests: units, and waiting for a condition."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

SECOND = float(os.environ.get("WSROOM_TEST_SECOND", "1"))
"""The unit of every timeout in the tests; a slow machine raises this one number."""

HOUR = 3600.0
TICK = 0.005


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Let the event loop run until `condition` holds."""
    async with asyncio.timeout(seconds * SECOND):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(TICK)
