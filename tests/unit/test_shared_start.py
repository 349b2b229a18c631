"""SharedStart: one attempt for all who wait, until it is cancelled or forgotten."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clock import SECOND, TICK, until
from wsroom import AdapterError
from wsroom.shared_start import SharedStart


class Service:
    """Starts when the test says so."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[str]] = []
        self.shared = SharedStart(self._start, "the service")

    async def _start(self) -> str:
        self.attempts.append(asyncio.get_running_loop().create_future())
        return await self.attempts[-1]

    async def waiting(self, count: int) -> list[asyncio.Task[str]]:
        """Tasks that wait for an attempt that has begun."""
        attempts = len(self.attempts)
        tasks = [asyncio.create_task(self.shared.wait()) for _ in range(count)]
        await until(lambda: len(self.attempts) > attempts)
        return tasks


async def test_all_who_wait_share_one_attempt() -> None:
    """Those who come later get the same result, without another attempt."""
    service = Service()
    tasks = await service.waiting(3)
    service.attempts[0].set_result("started")
    async with asyncio.timeout(SECOND):
        assert await asyncio.gather(*tasks) == ["started"] * 3
        assert await service.shared.wait() == "started"
    assert len(service.attempts) == 1


async def test_a_failure_is_shared_and_the_next_call_tries_again() -> None:
    """All who wait get the exception; it is not remembered."""
    service = Service()
    tasks = await service.waiting(3)
    service.attempts[0].set_exception(AdapterError("away"))
    async with asyncio.timeout(SECOND):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["away"] * 3
    (task,) = await service.waiting(1)
    service.attempts[1].set_result("started")
    assert await asyncio.wait_for(task, SECOND) == "started"


async def test_an_attempt_outlives_its_callers() -> None:
    """One that is cancelled, or whose time is over, does not end it for the others."""
    service = Service()
    first, second = await service.waiting(2)
    first.cancel()
    with pytest.raises(TimeoutError):
        await service.shared.wait(TICK)
    service.attempts[0].set_result("started")
    assert await asyncio.wait_for(second, SECOND) == "started"
    assert first.cancelled() and len(service.attempts) == 1


async def test_cancelling_ends_an_attempt() -> None:
    """All who wait get an AdapterError, and the next call begins another attempt."""
    service = Service()
    tasks = await service.waiting(2)
    assert await asyncio.wait_for(service.shared.cancel(), SECOND) is None
    async with asyncio.timeout(SECOND):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"the service was stopped while it started"}
    assert service.attempts[0].cancelled() and service.shared.loop is None
    (task,) = await service.waiting(1)
    service.attempts[1].set_result("started")
    assert await asyncio.wait_for(task, SECOND) == "started"


async def test_one_caller_of_cancel_gets_the_result() -> None:
    """So what was started is stopped once."""
    service = Service()
    (task,) = await service.waiting(1)
    service.attempts[0].set_result("started")
    await asyncio.wait_for(task, SECOND)
    results = await asyncio.gather(service.shared.cancel(), service.shared.cancel())
    assert list(results) == ["started", None]


def test_an_attempt_is_bound_to_its_event_loop() -> None:
    """Other loops must not wait for it; once its loop is closed, it can be forgotten."""
    service = Service()
    loop = asyncio.new_event_loop()
    (task,) = loop.run_until_complete(service.waiting(1))
    assert (service.shared.loop, service.shared.loop_closed) == (loop, False)
    with pytest.raises(AdapterError, match="the service starts on another event loop"):
        asyncio.run(service.shared.wait())
    service.attempts[0].set_result("started")
    assert loop.run_until_complete(task) == "started"
    loop.close()
    assert service.shared.loop_closed
    service.shared.forget()

    async def again() -> str:
        (task,) = await service.waiting(1)
        service.attempts[1].set_result("started again")
        return await task

    assert asyncio.run(again()) == "started again"
