"""Time in the tests: units, short times for wsroom, and waiting for a condition."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from wsroom.timing import Timing

SECOND = float(os.environ.get("WSROOM_TEST_SECOND", "1"))
"""The unit of every timeout in the tests; a slow machine raises this one number."""

HOUR = 3600.0
TICK = 0.005

QUICK = Timing(
    unsent_check_interval=0.2 * SECOND,
    abort_after=0.6 * SECOND,
    redis_timeout=1.5 * SECOND,
    start_timeout=1 * SECOND,
    connect_timeout=0.5 * SECOND,
    heartbeat_interval=0.4 * SECOND,
    unhealthy_after=0.8 * SECOND,
    reconnect_after=1.2 * SECOND,
    refresh_interval=0.1 * SECOND,
    outage_after=0.2 * SECOND,
    doubtful=3 * SECOND,
)
"""Times for tests that wait until one of them has passed: a fifth of the defaults, or less."""


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `condition` is true."""
    async with asyncio.timeout(seconds * SECOND):
        while not condition():  # noqa: ASYNC110 (conditions have no event)
            await asyncio.sleep(TICK)
