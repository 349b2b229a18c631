"""Starting a coroutine before its task has its turn, as a step of that task.

`asyncio._enter_task` and `_leave_task` are documented for this: "Extending asyncio" in the Python
documentation. Nothing else of wsroom calls them.
"""

from __future__ import annotations

import asyncio
from asyncio import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")


class Started(Generic[T]):
    """A coroutine that was started outside of its task; awaiting this in the task goes on with it.

    Awaiting raises what the coroutine has raised, or raises then.
    """

    __slots__ = ("_awaited", "_coroutine", "cancelled", "exc", "of")

    def __init__(
        self,
        of: T,
        coroutine: Coroutine[Any, Any, Any] | None,
        awaited: Any,
        exc: BaseException | None = None,
    ) -> None:
        self.of = of
        """What it was started for."""
        self.cancelled = False
        """Whether the task was cancelled since: what the coroutine awaits is then cancelled."""
        self._coroutine = coroutine
        self._awaited = awaited
        self.exc = exc
        """What it has raised; None if it has to wait."""

    def __await__(self) -> Generator[Any, Any, None]:
        if self.exc is not None:
            raise self.exc
        assert self._coroutine is not None
        awaited = self._awaited
        # What a task does that was cancelled in its last step. A bare yield (`sleep(0)`) and a
        # future that is done cannot be cancelled: then the coroutine is, at its next step.
        pending = self.cancelled and (awaited is None or not awaited.cancel())
        while True:
            try:
                yield awaited
                if pending:
                    pending = False
                    raise asyncio.CancelledError
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as exc:
                try:
                    awaited = self._coroutine.throw(exc)
                except StopIteration:
                    return
            else:
                break
        yield from self._coroutine.__await__()


def start(
    of: T, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any
) -> Started[T] | None:
    """Call a coroutine function up to what it awaits first; never raises.

    Returns None if it has returned, else the rest, or what it raised.
    """
    try:
        coroutine = function(*args)
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    except BaseException as exc:
        return Started(of, None, None, exc)
    return Started(of, coroutine, awaited)


def step(
    task: asyncio.Task[Any],
    loop: asyncio.AbstractEventLoop,
    context: Context,
    function: Callable[[A], T],
    argument: A,
) -> T:
    """Call a function as if `task` called it; no task may be running."""
    _enter_task(loop, task)
    try:
        return context.run(function, argument)
    finally:
        _leave_task(loop, task)
