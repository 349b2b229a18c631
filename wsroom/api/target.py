"""Choosing who gets a message, step by step, each step a new value."""

from __future__ import annotations

from typing import Any, Protocol, Self

from wsroom.limits import Limits
from wsroom.wire.emission import Emission, Room
from wsroom.wire.protocol import RESERVED, encode, event_name_error, room_name_error

KNOWN_NAMES = 10_000


class Outlet(Protocol):
    """What a target emits through: the hub of a worker, or a publisher."""

    limits: Limits
    known_events: set[str]
    known_rooms: set[str]

    async def publish(self, emission: Emission) -> None: ...


class Target:
    """Who a message is for: `app.to("chat")`. Immutable, so it can be kept and shared.

    Messages of one caller to one room reach all members in the order of the calls, once each.
    """

    __slots__ = ("_left_out", "_outlet", "_path", "_rooms")

    def __init__(
        self, outlet: Outlet, path: str, rooms: tuple[str, ...] = (), left_out: tuple[str, ...] = ()
    ) -> None:
        self._outlet = outlet
        self._path = path
        self._rooms = rooms
        self._left_out = left_out

    def _with(self, rooms: tuple[str, ...], left_out: tuple[str, ...]) -> Self:
        return type(self)(self._outlet, self._path, rooms, left_out)

    def to(self, *rooms: str) -> Self:
        """Return a new one for the members of these rooms as well; a socket's id is a room of one.

        Without any room it is everybody on the path. A socket in several rooms gets one copy.

        Raises:
            ValueError: a name is no room's name.

        """
        return self._with(self._add(self._rooms, rooms), self._left_out)

    def except_(self, *rooms: str) -> Self:
        """Return a new one that leaves out whoever is in these rooms at delivery.

        Raises:
            ValueError: a name is no room's name.

        """
        return self._with(self._rooms, self._add(self._left_out, rooms))

    def _add(self, names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
        known = self._outlet.known_rooms
        for name in more:
            if type(name) is str and name in known:
                continue
            problem = room_name_error(name, self._outlet.limits)
            if problem:
                raise ValueError(f"room {name!r} {problem}; use another name")
            _remember(known, name)
        return tuple(dict.fromkeys(names + more))

    async def emit(self, event: str, message: Any = None) -> None:
        """Emit `event` to everybody chosen; returns once the adapter has it, waits for no socket.

        Args:
            event: its name, none of the protocol's own.
            message: anything that JSON has a form for, datetimes, UUIDs and dataclasses included.

        Raises:
            ValueError: the event's name, NaN or an infinity, or a payload over 1 MiB.
            TypeError: the message holds something that JSON has no form for.
            AdapterError: it cannot be said to have been carried to all workers.

        """
        await self._outlet.publish(self._emission(event, message))

    def _emission(
        self,
        event: str,
        message: Any,
        sender: str | None = None,
        except_socket: str = "",
        except_session: str = "",
    ) -> Emission:
        self._check_event(event)
        rooms = self._rooms
        name = rooms[0] if len(rooms) == 1 else None
        return Emission(
            room=Room(self._path, name or ""),
            payload=encode(event, message, sender, name),
            rooms=rooms if len(rooms) > 1 else (),
            except_socket=except_socket,
            except_session=except_session,
            except_rooms=self._left_out,
        )

    def _check_event(self, event: str) -> None:
        if event in self._outlet.known_events:
            return
        if event in RESERVED:
            raise ValueError(f"event {event!r} is part of the protocol; use another name")
        problem = event_name_error(event, self._outlet.limits)
        if problem:
            raise ValueError(f"event {event!r} {problem}; use another name")
        _remember(self._outlet.known_events, event)


def _remember(known: set[str], name: str) -> None:
    """Note that `name` is good; bounded, as names may come from clients."""
    if len(known) >= KNOWN_NAMES:
        known.clear()
    known.add(name)
