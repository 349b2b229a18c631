"""ASGI's lifespan protocol, on both sides: for the server, and with an app behind this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from wsroom.asgi.types import ASGIApp, Message, Receive, Send, State
from wsroom.errors import SetupError, WSRoomError

logger = logging.getLogger("wsroom")


async def serve(
    context: AbstractAsyncContextManager[None],
    receive: Receive,
    send: Send,
) -> None:
    """Enter `context` when the server starts and leave it when the server stops.

    A failure is reported by `startup.failed`: only that keeps a server from serving, and ends the
    parent process of several uvicorn workers. Servers take an exception for "no lifespan".
    """
    await receive()
    try:
        await context.__aenter__()
    except WSRoomError as exc:
        await send({"type": "lifespan.startup.failed", "message": str(exc)})
        return
    except BaseException as exc:
        # sys.exit() too: without this message a server would serve an app that has not started.
        logger.error("the app could not start", exc_info=exc)
        await send({"type": "lifespan.startup.failed", "message": f"wsroom: {exc!r}"})
        if isinstance(exc, Exception):
            return
        raise
    await send({"type": "lifespan.startup.complete"})
    await receive()
    try:
        await context.__aexit__(None, None, None)
    except BaseException as exc:
        logger.error("the app could not stop cleanly", exc_info=exc)
        await send({"type": "lifespan.shutdown.failed", "message": f"wsroom: {exc!r}"})
        if isinstance(exc, Exception):
            return
        raise
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def forward(app: ASGIApp, state: State) -> AsyncIterator[None]:
    """Run the lifespan of `app` around the body, as a server would.

    An app without a lifespan raises at once; that is not an error.

    Raises:
        SetupError: the app reports that its start failed.

    """
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    scope = {
        "type": "lifespan",
        "asgi": {"version": "3.0", "spec_version": "2.0"},
        "state": state,
    }
    task = asyncio.ensure_future(app(scope, inbox.get, answers.put))
    try:
        inbox.put_nowait({"type": "lifespan.startup"})
        answer = await _answer(task, answers)
        if answer is None:
            logger.info("%r has no lifespan", app)
        elif answer["type"] == "lifespan.startup.failed":
            raise SetupError(f"{app!r} did not start: {answer.get('message', '')}")
        yield
        if answer is not None:
            inbox.put_nowait({"type": "lifespan.shutdown"})
            answer = await _answer(task, answers)
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                logger.error("%r did not stop: %s", app, answer.get("message", ""))
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _answer(task: asyncio.Future[None], answers: asyncio.Queue[Message]) -> Message | None:
    """Wait for the app's answer; return None if it returned or raised instead."""
    getting = asyncio.ensure_future(answers.get())
    either: set[asyncio.Future[Any]] = {task, getting}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if getting.done():
        return getting.result()
    getting.cancel()
    if not task.cancelled() and (exc := task.exception()) is not None:
        logger.debug("an app raised in its lifespan", exc_info=exc)
    return None
