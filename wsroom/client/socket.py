"""The socket of a Python program that is a client of an app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

from wsroom.client.attempt import Settings
from wsroom.client.events import Events
from wsroom.client.keeper import Keeper, SocketState
from wsroom.client.life import Life
from wsroom.client.listeners import Listeners
from wsroom.client.outgoing import OutFrame
from wsroom.client.room import ClientRoom, ClientRooms
from wsroom.errors import ConnectionLost, check_close
from wsroom.wire.joins import join_message
from wsroom.wire.names import NameChecker
from wsroom.wire.protocol import JOIN, LEAVE

Function = TypeVar("Function", bound=Callable[..., Any])


class ClientSocket:
    """A client of an app, from its first connection to its last; `connect` makes it.

    `async with` opens it, as `open` does, and closes it at the end. Listeners that are added before
    it miss nothing.

    Listeners are called one at a time, in the order of what happened; `async def` listeners are
    awaited. Meanwhile up to 1,000 more calls wait; with more, nothing is read from the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.request_timeout
        # Without limits: the client does not know those of the server, which checks them itself.
        self._names = NameChecker(None)
        self._listeners = Listeners()
        self._life = Life(settings, self._listeners)
        self._rooms = ClientRooms(self, self._listeners, self._keeper.recovery.held)

    @property
    def _keeper(self) -> Keeper:
        return self._life.keeper

    # -- life ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._life.open_now:
            raise RuntimeError("this socket is open already; connect() makes another one")
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, exc_type: object, exc: object, traceback: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and return once the socket is open; do nothing if it is not closed.

        After it was closed for good, by the server or by `close`, it connects again with its
        listeners, and in its rooms, where it gets what it missed. `params` is evaluated again, for
        a new login. In a listener it does not wait for the connection.

        Raises:
            ConnectionLost: the server refuses the client for good, or `max_retries` attempts
                failed. The socket is closed then, as it is if this call is cancelled.

        """
        await self._life.open()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close for good; unanswered requests raise ConnectionLost. Closing twice does nothing.

        Raises:
            ValueError: the code or the reason must not be sent.

        """
        check_close(code, reason)
        await self._life.close(code, reason)

    async def wait_closed(self) -> ConnectionLost:
        """Wait until the socket is closed for good, by either side; return why."""
        keeper = self._keeper
        await keeper.closed.wait()
        assert keeper.end is not None
        return keeper.end

    @property
    def id(self) -> str:
        """The id of the latest connection, which others get as `sender`; "" before the first."""
        return self._keeper.id

    @property
    def state(self) -> SocketState:
        """ "connecting", "open", "waiting" (for the next attempt) or "closed" (for good)."""
        return self._keeper.state

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that the socket is in; after a reconnect it joins them again."""
        return frozenset(self._keeper.recovery.offsets) - {""}

    @property
    def dropped(self) -> int:
        """How many kept frames were dropped: more than `buffer` waited, or the socket closed."""
        return self._keeper.outgoing.dropped

    # -- sending ---------------------------------------------------------------------------

    async def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Send an event, or keep it until there is a connection.

        It returns when the frame is being sent or kept. Delivery is at most once: a frame in a
        connection that breaks is lost. If more than `buffer` frames wait, the oldest are dropped.

        Args:
            event: the event's name.
            message: anything that JSON has a form for.
            volatile: do not keep it: without a connection it is dropped.

        Raises:
            ConnectionLost: the socket is closed.
            RequestError: `too_large`: the server does not accept a frame of this size. A frame that
                was kept before the first connection is reported to `on_error` instead.
            TypeError, ValueError: the message is not JSON, or the event's name is invalid.

        """
        self._check(event)
        frame = OutFrame(event, message, None, None)
        if not volatile or self.state in ("open", "closed"):
            await self._keeper.send(frame)

    async def request(
        self, event: str, message: Any = None, *, timeout: float | None = None
    ) -> Any:
        """Send an event and return what its handler returned.

        The request is sent at most once. After a TimeoutError or a ConnectionLost the server may
        or may not have handled it; if it still waited for a connection, it is never sent.

        Raises:
            RequestError: the server answered `error`, or the frame is larger than it accepts.
            TimeoutError: there was no answer within `timeout` seconds.
            ConnectionLost: the connection ended before the answer, or the socket is closed.
            TypeError, ValueError: the message is not JSON, or the event's name is invalid.

        """
        self._check(event)
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await self._request(event, message)
        except TimeoutError:
            raise TimeoutError(f"no answer to {event!r} within {limit:g} s") from None

    async def join_room(
        self,
        room: str,
        *,
        last: int | None = None,
        since: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Join a room; everything that is emitted there after this returns reaches the socket.

        The room is remembered: after a reconnect the socket gets what it missed there.

        With `last`, its listeners first get that many of the room's last messages; with `since`,
        an offset, those since then. The server may send fewer. docs/protocol.md describes its
        answer, which is returned: `room`, `offset`, `replayed` and `recovered`.

        Raises:
            RequestError: the server refused.
            TimeoutError: it did not answer within `timeout` seconds.
            ConnectionLost: the socket is closed.
            ValueError: the room's name is invalid.

        """
        message = join_message(room, last, since)
        answer: dict[str, Any] = await self._request_until_answered(JOIN, room, message, timeout)
        return answer

    def room(self, name: str) -> ClientRoom:
        """Return a handle on a room; the socket leaves the room with the last handle on it.

        Raises:
            ValueError: the room's name is invalid.

        """
        self._names.check_room(name)
        return self._rooms.hold(name)

    async def leave_room(self, room: str, *, timeout: float | None = None) -> None:
        """Leave a room, and forget it; raises what `join_room` raises."""
        self._keeper.recovery.leave(room)
        await self._request_until_answered(LEAVE, room, room, timeout)

    async def _request_until_answered(
        self, event: str, room: str, message: Any, timeout: float | None
    ) -> Any:
        # These two events are idempotent, so they are repeated after a lost connection.
        self._names.check_room(room)
        keeper = self._keeper
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                while True:
                    await keeper.wait_ready()
                    if message is not room:
                        keeper.recovery.ask_for_history(room)
                    try:
                        return await self._request(event, message)
                    except ConnectionLost:
                        await asyncio.sleep(0)  # until the loss is known everywhere
        except TimeoutError:
            raise TimeoutError(f"no answer to {event} {room!r} within {limit:g} s") from None
        finally:
            keeper.recovery.end_history(room)

    async def _request(self, event: str, message: Any) -> Any:
        keeper = self._keeper
        frame = keeper.outgoing.request(event, message)
        assert frame.answer is not None
        try:
            await keeper.send(frame)
            return await frame.answer
        finally:
            keeper.outgoing.give_up(frame)

    def _check(self, event: str) -> None:
        if event in (JOIN, LEAVE):
            raise ValueError(
                f"event {event!r} is part of the protocol; "
                "use join_room(), leave_room() or another name"
            )
        self._names.check_event(event)

    # -- listening -------------------------------------------------------------------------

    @overload
    def on(self, event: str) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Callable[..., Any]) -> Callable[[], None]: ...
    def on(self, event: str, function: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Call `function(message, sender, room, time)` for each such event.

        The function may also take fewer of these arguments.

        `time` is None for a live message. For one that was missed and is replayed, it is when it
        was emitted, in ms since the epoch by the server's clock, if the server knows it.
        An event may have many listeners. "*" gets every frame of the server, whole, as a dict.

        Returns:
            a function that removes the listener; as a decorator (`@socket.on("said")`), the
            function itself.

        Raises:
            SetupError: the function takes more arguments.

        """
        most = 1 if event == "*" else 4
        return self._listen(("event", event), function, most)

    def events(self, *names: str) -> Events:
        """Return an async iterator over the events of these names; without names, over all.

        `async for event in socket.events("said")` gets the events that arrive after this call, in
        order, except for the answers to requests. It ends when the socket is closed for good.
        `async for event in socket` iterates over all of them.
        """
        return Events(self._listeners, names)

    def __aiter__(self) -> Events:
        return self.events()

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a listener of an event; without a function, all of them."""
        self._listeners.remove(("event", event), function)

    def on_open(self, function: Function) -> Function:
        """Call `()` after each successful handshake."""
        return self._hook("on_open", function, 0)

    def on_connected(self, function: Function) -> Function:
        """Call `()` each time the socket is ready.

        By then it has received `connected` and everything that it missed, and sent the frames
        that were kept.
        """
        return self._hook("on_connected", function, 0)

    def on_close(self, function: Function) -> Function:
        """Call `(code, reason)` each time a connection ends; `state` is "closed" if for good."""
        return self._hook("on_close", function, 2)

    def on_error(self, function: Function) -> Function:
        """Call `(exc)` for errors that no call of this socket raises.

        That is a RequestError for an `error` frame, or for a room that cannot be joined again;
        and a ConnectionLost for each failed attempt to connect.
        """
        return self._hook("on_error", function, 1)

    def on_state(self, function: Function) -> Function:
        """Call `(state)` each time `state` changes."""
        return self._hook("on_state", function, 1)

    def on_resync(self, function: Function) -> Function:
        """Call `(room)` when messages of a room were lost for good: reload your state.

        `room` is None if they were for everybody on the path, or for this socket alone.
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
