"""Keeping a client connected: attempts, pauses, coming back, and what the server says meanwhile."""

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
from wsroom.client.listeners import Listeners
from wsroom.client.outgoing import OutFrame, Outgoing
from wsroom.client.recovery import STEADY, Recovery, is_final, pause, read_error
from wsroom.errors import ConnectionLost, RequestError
from wsroom.logs import LogOnce
from wsroom.wire.protocol import CONNECTED, ERROR, JOIN, RESUME, RESYNC, Frame

logger = logging.getLogger("wsroom.client")

PASSING = frozenset({"unavailable", "timeout", "internal"})
"""Codes with which a room could not be joined again now; another attempt may."""
ANSWER = 35.0
"""Seconds for the answer to a `resume` or `joinRoom` of our own: the server gives up after 30."""


class Keeper:
    """Connects, comes back, reads, and connects again, until it is closed or sent away."""

    def __init__(self, settings: Settings, listeners: Listeners) -> None:
        settings.check()
        self._settings = settings
        self._listeners = listeners
        self.recovery = Recovery()
        self.outgoing = Outgoing(settings.buffer)
        self.id = ""
        self.state: Literal["connecting", "open", "waiting", "closed"] = "connecting"
        self.decided = asyncio.Event()
        """Set once it has been open, or is closed for good."""
        self.closed = asyncio.Event()
        self.end: ConnectionLost | None = None
        """Why it is closed for good."""
        self._closing: ConnectionLost | None = None
        self._websocket: ClientConnection | None = None
        self._greeted = asyncio.Event()
        self._greeted_at = 0.0
        self._usable = asyncio.Event()
        self._reload: set[str] = set()
        self._outage = LogOnce()

    # -- what the socket asks for ----------------------------------------------------------

    async def send(self, frame: OutFrame) -> None:
        """Send a frame, or keep it until that can be done; raises ConnectionLost at the end."""
        if self.end is not None:
            raise ConnectionLost(self.end.code, self.end.reason) from self.end
        websocket = self._websocket
        if websocket is None or not self._usable.is_set() or websocket.state is not State.OPEN:
            self.outgoing.keep(frame)
            return
        self.outgoing.sent(frame)
        try:
            await websocket.send(frame.text)
        except ConnectionClosed:
            return  # a request is told by `outgoing.lost`; an emit is gone, as promised

    async def usable(self) -> None:
        """Wait until there is a connection that is of use; raises ConnectionLost at the end."""
        await self._usable.wait()
        if self.end is not None:
            raise ConnectionLost(self.end.code, self.end.reason) from self.end

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, if there is one, before the task of `run` is cancelled."""
        if self.end is None:
            self._closing = ConnectionLost(code, reason)
            if self._websocket is not None:
                await self._websocket.close(code, reason)

    def finish(self, lost: ConnectionLost) -> None:
        """Be closed for good; once only."""
        if self.end is None:
            self.end = lost
            self.outgoing.lost(lost, final=True)
            self._turn("closed")
            self._listeners.end()
            for event in (self.decided, self.closed, self._usable):
                event.set()

    # -- attempts --------------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected until the end."""
        lost = ConnectionLost(1006, "the client failed")
        try:
            lost = await self._stay()
        finally:
            self.finish(self._closing or lost)

    async def _stay(self) -> ConnectionLost:
        tries = 0
        loop = asyncio.get_running_loop()
        while True:
            self._turn("connecting")
            self._greeted.clear()
            try:
                lost = await self._attempt()
            except ConnectionLost as exc:
                lost = exc
                self._tell("on_error", lost)
            if self._greeted.is_set() and loop.time() - self._greeted_at >= STEADY:
                tries = 0
            most = self._settings.max_retries
            if self._closing or is_final(lost.code) or (most is not None and tries >= most):
                self._log_lost(lost, "it does not try again")
                return lost
            self._log_lost(lost, "it tries again")
            self._turn("waiting")
            await asyncio.sleep(pause(tries, self._settings.retry_after, random.random()))
            tries += 1

    async def _attempt(self) -> ConnectionLost:
        resumption = self.recovery.resumption()
        websocket = await attempt(self._settings, resumption is not None)
        self._reload = set(self.recovery.without_history())
        self._websocket = websocket
        self._tell("on_open")
        setup = asyncio.create_task(self._set_up(websocket, resumption))
        try:
            await self._read(websocket)
        finally:
            # Nothing is awaited until all is told: `close` may cancel this task at any moment.
            self._websocket = None
            self._usable.clear()
            lost = ConnectionLost(websocket.close_code or 1006, websocket.close_reason or "")
            self.recovery.ended()
            self.outgoing.lost(lost, final=False)
            self._tell("on_close", lost.code, lost.reason)
            setup.cancel()
            await asyncio.wait([setup])
        return lost

    # -- one connection --------------------------------------------------------------------

    async def _set_up(self, websocket: ClientConnection, resumption: Any) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._greeted.wait()
            self._greeted_at = asyncio.get_running_loop().time()
            if "" in self._reload:
                self._tell("on_resync", None)
            if resumption is not None:
                await self._resume(websocket, resumption)
            for room in sorted(self._reload - {""}):
                await self._join_again(websocket, room)
            await self._flush(websocket)
        except (ConnectionLost, RequestError, TimeoutError, ConnectionClosed) as exc:
            logger.debug("a connection was not made use of: %r", exc)
            websocket.transport.abort()

    async def _resume(self, websocket: ClientConnection, resumption: Any) -> None:
        try:
            reply = await self._ask(websocket, RESUME, resumption)
        except RequestError as exc:
            if exc.code in PASSING:
                raise
            # A server that cannot read it will not the next time: begin anew.
            self.recovery.forget_offsets()
            self._reload = set(self.recovery.places)
            self._tell("on_resync", None)
            return
        for room, answer in reply["rooms"].items():
            code = answer.get("error")
            if code in PASSING:
                raise RequestError(code, f"room {room!r} cannot be joined now", RESUME)
            if code is not None:
                self._give_up_room(room, RequestError(code, f"no more in room {room!r}", RESUME))

    async def _join_again(self, websocket: ClientConnection, room: str) -> None:
        try:
            await self._ask(websocket, JOIN, room)
        except RequestError as exc:
            if exc.code in PASSING:
                raise
            self._give_up_room(room, exc)

    def _give_up_room(self, room: str, exc: RequestError) -> None:
        self.recovery.places.pop(room, None)
        self._tell("on_error", exc)

    async def _ask(self, websocket: ClientConnection, event: str, message: Any) -> Any:
        frame = self.outgoing.request(event, message)
        assert frame.answer is not None
        try:
            async with asyncio.timeout(ANSWER):
                self.outgoing.sent(frame)
                await websocket.send(frame.text)
                return await frame.answer
        finally:
            self.outgoing.forget(frame)

    async def _flush(self, websocket: ClientConnection) -> None:
        queue = self.outgoing.queue
        while queue:
            if websocket.state is not State.OPEN:
                return  # the rest stays, for the next connection
            frame = queue.popleft()
            self.outgoing.sent(frame)
            await websocket.send(frame.text)
        self._usable.set()
        self._outage.reset()
        self._turn("open")
        self._tell("on_connected")
        self.decided.set()

    # -- what the server says --------------------------------------------------------------

    async def _read(self, websocket: ClientConnection) -> None:
        while True:
            try:
                raw = await websocket.recv()
            except ConnectionClosed:
                return
            try:
                self._take(orjson.loads(raw))
            except (ValueError, LookupError, TypeError, AttributeError) as exc:
                await websocket.close(1002)
                raise ConnectionLost(1002, f"no frame of wsroom: {raw[:100]!r}") from exc
            await self._listeners.room()

    def _take(self, frame: Frame) -> None:
        event, message, sender, room = (
            frame["event"],
            frame["message"],
            frame["sender"],
            frame["room"],
        )
        asked = self.outgoing.answered(frame.get("id"))
        self.recovery.take(frame, asked.event if asked else "")
        if asked is not None:
            self._answer(asked, frame)
        elif event == CONNECTED:
            self.id = message["id"]
            self._greeted.set()
        elif event == ERROR:
            self._tell("on_error", exc := read_error(message))
            if exc.code == "too_large" and not self._usable.is_set():
                self.outgoing.refused(exc)  # our own `resume`: until then nothing else is sent
        elif event == RESYNC:
            self._tell("on_resync", message["room"])
        if "id" not in frame:
            self._listeners.tell(("event", event), message, sender, room)
        self._listeners.tell(("event", "*"), frame)

    def _answer(self, asked: OutFrame, frame: Frame) -> None:
        message = frame["message"]
        if frame["event"] == ERROR:
            asked.fail(read_error(message))
            return
        if asked.answer is not None and not asked.answer.done():
            asked.answer.set_result(message)
        # Here and not where the answer is waited for: what is live comes right after it.
        if asked.event == RESUME:
            for room in self.recovery.holes(message):
                self._tell("on_resync", room or None)
        elif asked.event == JOIN and message["room"] in self._reload:
            self._reload.discard(message["room"])
            self._tell("on_resync", message["room"])

    # -- telling ---------------------------------------------------------------------------

    def _tell(self, hook: str, *arguments: Any) -> None:
        self._listeners.tell(("hook", hook), *arguments)

    def _turn(self, state: Literal["connecting", "open", "waiting", "closed"]) -> None:
        if state != self.state:
            self.state = state
            self._tell("on_state", state)

    def _log_lost(self, lost: ConnectionLost, what: str) -> None:
        # Once for each outage; without the query, where tokens are.
        if self._closing is None and self._outage.due():
            url = self._settings.url.partition("?")[0]
            logger.warning("no connection to %s (%s); %s", url, lost, what)
