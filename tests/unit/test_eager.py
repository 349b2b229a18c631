"""Code that is started as a step of a task that waits behaves as if the task had called it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import anyio
import pytest
import uvloop

from tests.support.clock import SECOND
from wsroom.direct.eager import Started, start
from wsroom.direct.waiter import Waiter

WAIT = 10 * SECOND
Work = Callable[[], Coroutine[Any, Any, None]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


class Host:
    """A task that waits, and the results of the work that was started in it."""

    def __init__(self) -> None:
        self.done: list[BaseException | None] = []
        self.eager: list[bool] = []
        self.ready = asyncio.Event()
        self.finished = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        variable.set("task")
        self.waiter = Waiter()
        self.loop.call_soon(self.ready.set)
        while True:
            started = await self.waiter
            if started is not None:
                try:
                    await started
                except BaseException as exc:
                    self._finish(exc)
                    if isinstance(exc, asyncio.CancelledError) and self.task.cancelling():
                        raise
                else:
                    self._finish(None)

    def _finish(self, exc: BaseException | None) -> None:
        self.done.append(exc)
        self.finished.set()

    def begin(self, work: Work) -> None:
        """Start work as the loop would, from a callback."""
        self.loop.call_soon(self._begin, work)

    def _begin(self, work: Work) -> None:
        def function(work: Work) -> Started[None] | None:
            started = start(None, work)
            if started is None:
                self._finish(None)
            return started

        self.eager.append(self.waiter.start(function, work))

    async def run(self, work: Work) -> BaseException | None:
        """Start work, and return what it raised."""
        await self.ready.wait()
        self.finished.clear()
        self.begin(work)
        async with asyncio.timeout(WAIT):
            await self.finished.wait()
        assert self.eager.pop()
        return self.done.pop()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=WAIT)
        assert self.task.cancelled()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[Host], Any]], None]]:
    """Run a test with a host, on both loops, in asyncio's debug mode too."""

    def run(test: Callable[[Host], Awaitable[None]]) -> None:
        async def main() -> None:
            host = Host()
            await test(host)
            assert not host.task.done()
            await host.end()

        for debug in (False, True):
            with asyncio.Runner(loop_factory=request.param, debug=debug) as runner:
                runner.run(main())
        gc.collect()  # warnings about coroutines that were never awaited are errors

    yield run


Play = Callable[[Callable[[Host], Awaitable[None]]], None]


def test_work_that_does_not_wait_does_not_wake_the_task(play: Play) -> None:
    """It runs in the task and in its context."""

    async def test(host: Host) -> None:
        seen: list[Any] = []

        async def work() -> None:
            seen.append((asyncio.current_task(), variable.get()))
            variable.set("changed")

        for _ in range(3):
            assert await host.run(work) is None
            assert host.waiter.waiting
        assert seen == [(host.task, "task"), (host.task, "changed"), (host.task, "changed")]
        assert variable.get() == "outside" and asyncio.current_task() is not host.task

    play(test)


async def sleep_zero() -> None:
    await asyncio.sleep(0)


async def sleep() -> None:
    await asyncio.sleep(0.001)


async def wait_for_task() -> None:
    await asyncio.create_task(sleep_zero())


async def wait_for_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep())
        group.create_task(sleep_zero())


async def wait_in_thread() -> None:
    assert await asyncio.to_thread(lambda: 1) == 1


async def wait_for_event() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await event.wait()


async def wait_with_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


WAYS_TO_WAIT = (
    sleep_zero,
    sleep,
    wait_for_task,
    wait_for_group,
    wait_in_thread,
    wait_for_event,
    wait_with_anyio,
)


@pytest.mark.parametrize("wait", WAYS_TO_WAIT)
def test_work_that_waits_goes_on_in_the_task(play: Play, wait: Work) -> None:
    """Several times in a row, in the same context."""

    async def test(host: Host) -> None:
        seen: list[Any] = []

        async def work() -> None:
            for _ in range(3):
                await wait()
                seen.append((asyncio.current_task(), variable.get()))

        assert await host.run(work) is None
        assert seen == [(host.task, "task")] * 3

    play(test)


def test_what_it_raises_reaches_the_task(play: Play) -> None:
    """Before and after it has waited; exceptions that end programs too."""

    async def test(host: Host) -> None:
        for exc in (ValueError("a"), SystemExit(1), KeyboardInterrupt(), StopAsyncIteration()):
            for wait in (None, sleep_zero, sleep):

                async def work(exc: BaseException = exc, wait: Work | None = wait) -> None:
                    if wait is not None:
                        await wait()
                    raise exc

                assert await host.run(work) is exc

    play(test)


def test_a_time_limit_ends_it(play: Play) -> None:
    """`asyncio.timeout` cancels the task, at its first wait or later."""

    async def test(host: Host) -> None:
        for wait in (None, sleep_zero, sleep):

            async def work(wait: Work | None = wait) -> None:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        if wait is not None:
                            await wait()
                        await asyncio.Event().wait()

            assert await host.run(work) is None
            assert not host.task.cancelling()

        async def late() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(0)
                    await asyncio.Event().wait()

        assert await host.run(late) is None

    play(test)


def test_a_cancel_before_its_first_wait_arrives_there(play: Play) -> None:
    """As in a task: at a future that is pending, one that is done, and a bare yield."""

    async def test(host: Host) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)

        class Yield:
            def __await__(self) -> Generator[Any, Any, None]:
                yield

        awaited: list[Awaitable[None]] = [asyncio.sleep(0), asyncio.sleep(5), pending, Yield()]
        for each in awaited:
            where: list[str] = []

            async def work(each: Awaitable[None] = each, where: list[str] = where) -> None:
                task = asyncio.current_task()
                assert task is not None and task.cancel()
                where.append("before")
                try:
                    await each
                except asyncio.CancelledError:
                    where.append("there")
                    task.uncancel()
                await asyncio.sleep(0)
                where.append("after")

            assert await host.run(work) is None
            assert where == ["before", "there", "after"]
        assert pending.cancelled()

    play(test)


def test_a_cancel_without_a_wait_ends_the_next_wait_of_the_task() -> None:
    """The task raises CancelledError where it waits, once."""

    async def main() -> None:
        host = Host()

        async def work() -> None:
            host.task.cancel()

        await host.ready.wait()
        host.begin(work)
        await asyncio.wait([host.task], timeout=WAIT)
        assert host.task.cancelled() and host.done == [None]

    asyncio.run(main())


def test_a_cancel_between_its_wait_and_the_task_arrives_in_it(play: Play) -> None:
    """Another callback of the same tick cancels the task."""

    async def test(host: Host) -> None:
        where: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                where.append("there")
                host.task.uncancel()

        await host.ready.wait()
        host.begin(work)
        host.loop.call_soon(host.task.cancel)
        async with asyncio.timeout(WAIT):
            await host.finished.wait()
        assert where == ["there"] and host.done == [None]

    play(test)


def test_wake_ups_while_it_runs_are_one(play: Play) -> None:
    """Work that wakes its own task, and then waits."""

    async def test(host: Host) -> None:
        async def work() -> None:
            host.waiter.wake()
            host.waiter.wake()
            assert not host.waiter.waiting
            await asyncio.sleep(0)

        assert await host.run(work) is None
        assert await host.run(work) is None

    play(test)


def test_it_is_not_started_within_another_task() -> None:
    """`start` says so; then the task is woken instead."""

    async def main() -> None:
        host = Host()
        await host.ready.wait()
        assert not host.waiter.start(lambda _: None, None)
        host.waiter.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert host.waiter.waiting
        await host.end()

    asyncio.run(main())
