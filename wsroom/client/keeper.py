"""Keeping a client connected: attempts, pauses, resuming, and reading the server's frames."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Literal

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from wsroom.client.attempt import Settings, attempt
from wsroom.client.listeners import FRAME, Listeners
from wsroom.client.outgoing import OutFrame, Outgoing
from wsroom.client.recovery import Recovery, backoff, is_final, lost_rooms, read_error
from wsroom.errors import ConnectionLost, RequestError
from wsroom.logs import LogOnce
from wsroom.wire.protocol import CONNECTED, ERROR, JOIN, RESUME, RESYNC, Frame

logger = logging.getLogger("wsroom.client")

TEMPORARY = frozenset({"unavailable", "timeout", "internal"})
"""Codes of refusals that may succeed with the next attempt."""
ANSWER_TIMEOUT = 35.0
"""Seconds for the answer to a `resume` or `joinRoom` of ours; the server gives up after 30."""

SocketState = Literal["connecting", "open", "waiting", "closed"]


class Keeper:
    """Connects, resumes, reads, and connects again, until it is closed or refused for good.

    A client that is opened again gets another one, with the rooms and the session of this one.
    """

    def __init__(
        self, settings: Settings, listeners: Listeners, recovery: Recovery, dropped: int = 0
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self.recovery = recovery
        self.outgoing = Outgoing(settings.buffer, dropped)
        self.id = ""
        self.state: SocketState = "connecting"
        self.decided = asyncio.Event()
        """Set once it has been open, or is closed for good."""
        self.awaited = False
        """Whether a caller waits for `decided`, and raises `end`."""
        self.closed = asyncio.Event()
        self.end: ConnectionLost | None = None
        """Why it is closed for good."""
        self._closing: ConnectionLost | None = None
        self._tries = 0  # attempts that failed in a row
        self._websocket: ClientConnection | None = None
        self._connected = asyncio.Event()  # the frame `connected` has arrived
        self._connected_at = 0.0
        self._ready = asyncio.Event()  # resumed, and all that waited has been sent
        self._reload: set[str] = set()
        self._outage = LogOnce()

    # -- for the socket --------------------------------------------------------------------

    async def send(self, frame: OutFrame) -> None:
        """Send a frame, or keep it until there is a connection.

        Raises:
            ConnectionLost: the client is closed for good.
            RequestError: the frame is larger than the server allows.

        """
        if self.end is not None:
            raise ConnectionLost(self.end.code, self.end.reason) from self.end
        self.outgoing.check_size(frame)
        websocket = self._websocket
        if websocket is None or not self._ready.is_set() or websocket.state is not State.OPEN:
            self.outgoing.enqueue(frame)
            return
        self.outgoing.sending(frame)
        try:
            await websocket.send(frame.text)
        except ConnectionClosed:
            return  # `outgoing.disconnected` fails a request; an emit is at most once

    async def wait_ready(self) -> None:
        """Wait until there is a connection that has resumed.

        Raises:
            ConnectionLost: the client is closed for good.

        """
        await self._ready.wait()
        if self.end is not None:
            raise ConnectionLost(self.end.code, self.end.reason) from self.end

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, if there is one, before the task of `run` is cancelled."""
        if self.end is None:
            self._closing = ConnectionLost(code, reason)
            if self._websocket is not None:
                await self._websocket.close(code, reason)

    def finish(self, lost: ConnectionLost) -> None:
        """Close for good, if that has not been done; requests and listeners end."""
        if self.end is None:
            self.end = lost
            self.outgoing.disconnected(lost, final=True)
            self._set_state("closed")
            self._listeners.end()
            for event in (self.decided, self.closed, self._ready):
                event.set()

    # -- attempts --------------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected until the client is closed for good."""
        try:
            while self.end is None:
                await self._attempt()
        finally:
            self.finish(self._closing or ConnectionLost(1006, "the client failed"))

    async def _attempt(self) -> None:
        self._set_state("connecting")
        self._connected.clear()
        resumption = self.recovery.resumption()
        try:
            websocket = await attempt(self._settings, resume=resumption is not None)
        except ConnectionLost as exc:
            self._lose(exc)
            self._notify("on_error", exc)
        else:
            await self._serve(websocket, resumption)
        if self.end is None:
            await asyncio.sleep(backoff(self._tries, self._settings.retry_after, random.random()))
            self._tries += 1

    async def _serve(self, websocket: ClientConnection, resumption: Any) -> None:
        self._reload = set(self.recovery.without_history())
        self._websocket = websocket
        self._notify("on_open")
        setup = asyncio.create_task(self._set_up(websocket, resumption))
        lost: ConnectionLost | None = None
        try:
            await self._read(websocket)
        except ConnectionLost as exc:
            lost = exc
            self._notify("on_error", exc)
        finally:
            # `close` may cancel this task at any await, so the listeners are notified before one.
            self._websocket = None
            self._ready.clear()
            lost = lost or ConnectionLost(
                websocket.close_code or 1006, websocket.close_reason or ""
            )
            self.recovery.disconnected()
            self.outgoing.disconnected(lost, final=False)
            self._lose(lost)
            self._notify("on_close", lost.code, lost.reason)
            setup.cancel()
            await asyncio.wait([setup])

    def _lose(self, lost: ConnectionLost) -> None:
        # Without an await, so that listeners see the state that follows, and may open it again.
        stable_after = self._settings.stable_after
        now = asyncio.get_running_loop().time()
        if self._connected.is_set() and now - self._connected_at >= stable_after:
            self._tries = 0
        most = self._settings.max_retries
        if self._closing or is_final(lost.code) or (most is not None and self._tries >= most):
            if not self.awaited or self.decided.is_set():  # else the caller gets the exception
                self._log_lost(lost, "it does not try again")
            self.finish(self._closing or lost)
        else:
            self._log_lost(lost, "it tries again")
            self._set_state("waiting")

    # -- one connection --------------------------------------------------------------------

    async def _set_up(self, websocket: ClientConnection, resumption: Any) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._connected.wait()
            self._connected_at = asyncio.get_running_loop().time()
            if "" in self._reload:
                self._notify("on_resync", None)
            if resumption is not None:
                await self._resume(websocket, resumption)
            for room in sorted(self._reload - {""}):
                await self._join_again(websocket, room)
            await self._flush(websocket)
        except (ConnectionLost, RequestError, TimeoutError, ConnectionClosed) as exc:
            logger.debug("a connection was given up before it was ready: %r", exc)
            websocket.transport.abort()

    async def _resume(self, websocket: ClientConnection, resumption: Any) -> None:
        try:
            reply = await self._ask(websocket, RESUME, resumption)
        except RequestError as exc:
            if exc.code in TEMPORARY:
                raise
            # A server that cannot read this `resume` cannot read the next one: join all rooms.
            self.recovery.forget_offsets()
            self._reload = set(self.recovery.offsets)
            self._notify("on_resync", None)
            return
        for room, answer in reply["rooms"].items():
            code = answer.get("error")
            if code in TEMPORARY:
                raise RequestError(code, f"room {room!r} cannot be joined now", RESUME)
            if code is not None:
                self._drop_room(room, RequestError(code, f"no longer in room {room!r}", RESUME))

    async def _join_again(self, websocket: ClientConnection, room: str) -> None:
        try:
            await self._ask(websocket, JOIN, room)
        except RequestError as exc:
            if exc.code in TEMPORARY:
                raise
            self._drop_room(room, exc)

    def _drop_room(self, room: str, exc: RequestError) -> None:
        self.recovery.offsets.pop(room, None)
        self._notify("on_error", exc)

    async def _ask(self, websocket: ClientConnection, event: str, message: Any) -> Any:
        frame = self.outgoing.request(event, message)
        assert frame.answer is not None
        try:
            self.outgoing.check_size(frame)
            async with asyncio.timeout(ANSWER_TIMEOUT):
                self.outgoing.sending(frame)
                await websocket.send(frame.text)
                return await frame.answer
        finally:
            self.outgoing.give_up(frame)

    async def _flush(self, websocket: ClientConnection) -> None:
        queue = self.outgoing.queue
        while queue:
            if websocket.state is not State.OPEN:
                return  # the rest stays, for the next connection
            frame = queue.popleft()
            try:
                self.outgoing.check_size(frame)
            except RequestError as exc:  # it was kept before the limit was known
                if frame.answer is None:
                    self._notify("on_error", exc)
                frame.fail(exc)
                continue
            self.outgoing.sending(frame)
            await websocket.send(frame.text)
        self._ready.set()
        self._outage.reset()
        self._set_state("open")
        self._notify("on_connected")
        self.decided.set()

    # -- the server's frames ---------------------------------------------------------------

    async def _read(self, websocket: ClientConnection) -> None:
        while True:
            try:
                raw = await websocket.recv()
            except ConnectionClosed:
                return
            try:
                self._handle(orjson.loads(raw))
            except (ValueError, LookupError, TypeError, AttributeError) as exc:
                await websocket.close(1002)
                raise ConnectionLost(1002, f"not a frame of wsroom: {raw[:100]!r}") from exc
            await self._listeners.wait_for_space()

    def _handle(self, frame: Frame) -> None:
        event, message, sender, room = (
            frame["event"],
            frame["message"],
            frame["sender"],
            frame["room"],
        )
        asked = self.outgoing.pop_answered(frame.get("id"))
        self.recovery.update(frame, asked.event if asked else "")
        if asked is not None:
            self._answer(asked, frame)
        elif event == CONNECTED:
            self.id = message["id"]
            self.outgoing.frame_size = message.get("limits", {}).get("frame")
            self._connected.set()
        elif event == ERROR:
            self._notify("on_error", read_error(message))
        elif event == RESYNC:
            self._notify("on_resync", message["room"])
        if "id" not in frame:
            time = frame.get("time")
            self._listeners.notify(("event", event), message, sender, room, time)
        self._listeners.notify(("event", "*"), frame)
        self._listeners.notify(FRAME, frame)

    def _answer(self, asked: OutFrame, frame: Frame) -> None:
        message = frame["message"]
        if frame["event"] == ERROR:
            asked.fail(read_error(message))
            return
        if asked.answer is not None and not asked.answer.done():
            asked.answer.set_result(message)
        # Before the live messages that follow, which are handled before the request wakes up.
        if asked.event == RESUME:
            for room in lost_rooms(message):
                self._notify("on_resync", room or None)
        elif asked.event == JOIN and message["room"] in self._reload:
            self._reload.discard(message["room"])
            self._notify("on_resync", message["room"])

    # -- listeners and the log -------------------------------------------------------------

    def _notify(self, hook: str, *arguments: Any) -> None:
        self._listeners.notify(("hook", hook), *arguments)

    def _set_state(self, state: SocketState) -> None:
        if state != self.state:
            self.state = state
            self._notify("on_state", state)

    def _log_lost(self, lost: ConnectionLost, what: str) -> None:
        # Once for each outage, and without the query, which may hold tokens.
        if self._closing is None and self._outage.due():
            url = self._settings.url.partition("?")[0]
            logger.warning("no connection to %s (%s); %s", url, lost, what)
