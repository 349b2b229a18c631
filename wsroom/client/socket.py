"""What a Python program sees of its connection to an app."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self, TypeVar, overload

from wsroom.client.attempt import Settings
from wsroom.client.keeper import Keeper
from wsroom.client.listeners import Listeners
from wsroom.client.outgoing import OutFrame
from wsroom.errors import ConnectionLost, check_close
from wsroom.wire.names import NameChecker
from wsroom.wire.protocol import JOIN, LEAVE

State = Literal["connecting", "open", "waiting", "closed"]
Params = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
Function = TypeVar("Function", bound=Callable[..., Any])

GRACE = 5.0
"""Seconds that listeners have, once the socket is closed, for what has already happened."""


def connect(
    url: str,
    *,
    params: Params | None = None,
    headers: Mapping[str, str] | None = None,
    buffer: int = 100,
    max_retries: int | None = None,
    retry_after: float = 0.5,
    connect_timeout: float = 10.0,
    request_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ssl: tls.SSLContext | None = None,
) -> ClientSocket:
    """Make a socket for `async with`, which connects it, and closes it afterwards.

    It connects again by itself whenever it is cut off, and then gets what it missed.

    Args:
        url: "ws://host/ws" or "wss://..."; http and https mean the same.
        params: the URL's query, or a function (`async def` too) asked anew at each attempt, for
            tokens that expire.
        headers: further headers of the handshake.
        buffer: frames that `emit` and `request` keep while there is no connection.
        max_retries: attempts in a row before it gives up; None for no end.
        retry_after: seconds; the pause before attempt n is random, up to this times 2 to the n,
            0.1 at least and 20 at most. n begins anew after 5 s of connection.
        connect_timeout: seconds for one attempt.
        request_timeout: seconds for each answer, where a call names none.
        ping_interval: seconds between two pings, and for the answer to each.
        ssl: for wss, where the default context will not do.

    Raises:
        ValueError: the URL is none, or a number is out of its range.

    """
    return ClientSocket(
        Settings(
            url,
            params,
            dict(headers or {}),
            buffer,
            max_retries,
            retry_after,
            connect_timeout,
            ping_interval,
            ssl,
        ),
        request_timeout,
    )


class ClientSocket:
    """One client, through all its connections; what `connect` returns.

    `async with` waits for the first connection. It raises ConnectionLost where the server refuses
    it for good, or `max_retries` are used up. Listeners that are added before hear everything.

    Listeners are called one after the other, in the order of what happened; `async def` ones are
    awaited. While they are, up to 1,000 more calls wait, and then nothing is read.
    """

    def __init__(self, settings: Settings, request_timeout: float) -> None:
        self._timeout = request_timeout
        # Without limits: those of the server are not known here, and it checks them itself.
        self._names = NameChecker(None)
        self._listeners = Listeners()
        self._keeper = Keeper(settings, self._listeners)
        self._keeping: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None

    # -- life ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._keeping is not None:
            raise RuntimeError("this socket was used before; connect() makes another one")
        self._telling = asyncio.create_task(self._listeners.run())
        self._keeping = asyncio.create_task(self._keeper.run())
        try:
            await self._keeper.decided.wait()
            if self._keeper.end is not None:
                raise self._keeper.end
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        await self.close()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close for good; requests under way raise ConnectionLost. Closing twice does nothing.

        Raises:
            ValueError: the code or the reason may not be sent.

        """
        check_close(code, reason)
        if self._keeping is not None:
            await self._keeper.close(code, reason)
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        self._keeper.finish(ConnectionLost(code, reason))
        if self._telling is not None and self._telling is not asyncio.current_task():
            await asyncio.wait([self._telling], timeout=GRACE)
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def wait_closed(self) -> ConnectionLost:
        """Wait until the socket is closed for good, by whomever; return why."""
        await self._keeper.closed.wait()
        assert self._keeper.end is not None
        return self._keeper.end

    @property
    def id(self) -> str:
        """The id of the latest connection, by which others know this socket as `sender`; or ""."""
        return self._keeper.id

    @property
    def state(self) -> State:
        """ "connecting", "open", "waiting" (for the next attempt) or "closed" (for good)."""
        return self._keeper.state

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in, and joins again after a reconnect."""
        return frozenset(self._keeper.recovery.places) - {""}

    @property
    def dropped(self) -> int:
        """How many kept frames were given up: more than `buffer` waited, or the end came."""
        return self._keeper.outgoing.dropped

    # -- what is sent ----------------------------------------------------------------------

    async def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Send an event, or keep it until there is a connection.

        It returns when the frame is on its way or kept; it is at most once: what is in a
        connection as it dies is gone. The oldest kept frames go where more than `buffer` wait.

        Args:
            event: the event's name.
            message: anything that JSON has a form for.
            volatile: do not keep it; without a connection it is dropped.

        Raises:
            ConnectionLost: the socket is closed.
            TypeError, ValueError: the message is no JSON, or the event's name is none.

        """
        self._check(event)
        frame = OutFrame(event, message, None, None)
        if not volatile or self.state in ("open", "closed"):
            await self._keeper.send(frame)

    async def request(
        self, event: str, message: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Send an event and return what its handler returned.

        It is never sent twice. After a TimeoutError or a ConnectionLost the server may have
        handled it or not; one that still waited for a connection is not sent any more.

        Raises:
            RequestError: the server answered `error`.
            TimeoutError: no answer came within `timeout` seconds.
            ConnectionLost: the connection ended before the answer, or the socket is closed.
            TypeError, ValueError: the message is no JSON, or the event's name is none.

        """
        self._check(event)
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await self._request(event, message)
        except TimeoutError:
            raise TimeoutError(f"no answer to {event!r} within {limit:g} s") from None

    async def join_room(self, room: str, *, timeout: float | None = None) -> None:
        """Join a room; once this returns, nothing that is emitted there passes the socket by.

        The room is remembered: after a reconnect the socket gets what it missed there.

        Raises:
            RequestError: the server said no.
            TimeoutError: it did not answer within `timeout` seconds.
            ConnectionLost: the socket is closed.
            ValueError: it is no room's name.

        """
        await self._insist(JOIN, room, timeout)

    async def leave_room(self, room: str, *, timeout: float | None = None) -> None:
        """Leave a room, and forget it; raises what `join_room` raises."""
        self._keeper.recovery.left(room)
        await self._insist(LEAVE, room, timeout)

    async def _insist(self, event: str, room: str, timeout: float | None) -> None:
        # Unlike the app's own events these two may be repeated, so a lost connection is no end.
        self._names.check_room(room)
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                while True:
                    await self._keeper.usable()
                    try:
                        await self._request(event, room)
                        return
                    except ConnectionLost:
                        await asyncio.sleep(0)  # until the loss is known everywhere
        except TimeoutError:
            raise TimeoutError(f"no answer to {event} {room!r} within {limit:g} s") from None

    async def _request(self, event: str, message: Any) -> Any:
        frame = self._keeper.outgoing.request(event, message)
        assert frame.answer is not None
        try:
            await self._keeper.send(frame)
            return await frame.answer
        finally:
            self._keeper.outgoing.forget(frame)

    def _check(self, event: str) -> None:
        if event in (JOIN, LEAVE):
            raise ValueError(
                f"event {event!r} is part of the protocol; "
                "use join_room(), leave_room() or another name"
            )
        self._names.check_event(event)

    # -- what is heard ---------------------------------------------------------------------

    @overload
    def on(self, event: str) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Callable[..., Any]) -> Callable[[], None]: ...
    def on(self, event: str, function: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Call `(message, sender, room)`, or as many of these as it takes, for each such event.

        An event may have many listeners. "*" gets every frame of the server, whole, as a dict.

        Returns:
            what removes the listener; used as a decorator, `@socket.on("said")`, the function.

        Raises:
            SetupError: the function takes more arguments.

        """
        most = 1 if event == "*" else 3
        return self._listen(("event", event), function, most)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a listener of an event; without a function all of them."""
        self._listeners.remove(("event", event), function)

    def on_open(self, function: Function) -> Function:
        """Call `()` when a handshake has succeeded, at the first time and each later one."""
        return self._hook("on_open", function, 0)

    def on_connected(self, function: Function) -> Function:
        """Call `()` when the socket is of use, at the first time and each later one.

        Before it come `connected`, everything that was missed, and the frames that were kept.
        """
        return self._hook("on_connected", function, 0)

    def on_close(self, function: Function) -> Function:
        """Call `(code, reason)` each time a connection ends; `state` says whether for good."""
        return self._hook("on_close", function, 2)

    def on_error(self, function: Function) -> Function:
        """Call `(exc)` for what nobody waits for.

        That is a RequestError for an `error` frame, or for a room that cannot be joined again;
        and a ConnectionLost for each attempt to connect that failed.
        """
        return self._hook("on_error", function, 1)

    def on_state(self, function: Function) -> Function:
        """Call `(state)` each time `state` changes."""
        return self._hook("on_state", function, 1)

    def on_resync(self, function: Function) -> Function:
        """Call `(room)` when messages of a room were lost for good: reload your state.

        `room` is None where they were for everybody on the path, or for this socket alone.
        """
        return self._hook("on_resync", function, 1)

    def _hook(self, name: str, function: Function, most: int) -> Function:
        self._listeners.add(("hook", name), function, most)
        return function

    def _listen(
        self, key: tuple[str, str], function: Callable[..., Any] | None, most: int
    ) -> Callable[..., Any]:
        if function is not None:
            return self._listeners.add(key, function, most)

        def register(function: Function) -> Function:
            self._listeners.add(key, function, most)
            return function

        return register
