"""Choosing the recipients of a message in steps; each step returns a new value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

from wsroom.wire.emission import EMIT, Emission, Room
from wsroom.wire.encoding import EmitCheck, JsonDefault, compact
from wsroom.wire.moderation import Chosen, disconnect_emission, leave_emissions, recheck_emission
from wsroom.wire.names import NameChecker
from wsroom.wire.presence import Cards
from wsroom.wire.protocol import RESERVED_WITH_PRESENCE, SOCKET_ID_PREFIX, encode


class EmissionPublisher(Protocol):
    """What a target emits through: the hub of a worker, or a publisher."""

    name_checker: NameChecker
    json_default: JsonDefault
    check_emit: EmitCheck | None
    has_presence: Callable[[str], bool] | None

    async def publish(self, emission: Emission) -> object: ...
    async def read_members(self, room: Room) -> Cards: ...


def room_of(path: str, rooms: tuple[str, ...]) -> Room:
    """Return the room that sequences an emission to these rooms; the path's for several or none."""
    return Room(path, rooms[0] if len(rooms) == 1 else "")


def check_reserved(publisher: EmissionPublisher, path: str, event: str) -> None:
    """Raise ValueError if the event is part of the protocol on paths with presence, like this."""
    if publisher.has_presence is not None and publisher.has_presence(path):
        raise ValueError(
            f"event {event!r} is part of the protocol on paths with presence; use another name"
        )


class Recipients:
    """Who gets a message; immutable, so it can be kept and shared."""

    __slots__ = ("_excluded", "_path", "_publisher", "_room", "_rooms")

    def __init__(
        self,
        publisher: EmissionPublisher,
        path: str,
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
    ) -> None:
        self._publisher = publisher
        self._path = path
        self._rooms = rooms
        self._room = room_of(path, rooms)
        self._excluded = excluded

    def _with(self, rooms: tuple[str, ...], excluded: tuple[str, ...]) -> Self:
        return type(self)(self._publisher, self._path, rooms, excluded)

    def to(self, *rooms: str) -> Self:
        """Return a target with the members of these rooms added; a socket's id is a room of one.

        A target without rooms is everybody on the path. A socket in several rooms gets one copy.

        Raises:
            ValueError: the name of a room is invalid.

        """
        return self._with(self._add(self._rooms, rooms), self._excluded)

    def except_(self, *rooms: str) -> Self:
        """Return a target that excludes the sockets that are in these rooms at delivery.

        Raises:
            ValueError: the name of a room is invalid.

        """
        return self._with(self._rooms, self._add(self._excluded, rooms))

    def _add(self, names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
        check_room = self._publisher.name_checker.check_room
        for name in more:
            check_room(name)
        return tuple(dict.fromkeys(names + more))

    async def members(self) -> list[dict[str, Any]]:
        """Return the cards of the members of these rooms, on all workers, each member once.

        Rooms without presence have no members. Sockets that `except_` leaves out are not.

        Raises:
            ValueError: no room was chosen, or a socket's id.
            SetupError: the adapter has no presence.
            AdapterError: the broker did not answer.

        """
        found: dict[str, Any] = {}
        if not self._rooms or any(name.startswith(SOCKET_ID_PREFIX) for name in self._rooms):
            raise ValueError('members are in rooms; choose them with to("board:1")')
        for name in self._rooms:
            found |= await self._publisher.read_members(Room(self._path, name))
        return [dict(card) for card in found.values()]

    async def count(self) -> int:
        """Return how many members these rooms have; raises what `members` raises."""
        return len(await self.members())

    def _emission(
        self,
        event: str,
        message: Any,
        volatile: bool,
        sender: str | None = None,
        except_socket: str = "",
        except_session: str = "",
    ) -> Emission:
        publisher, room, rooms = self._publisher, self._room, self._rooms
        publisher.name_checker.check_event(event)
        if event in RESERVED_WITH_PRESENCE:
            check_reserved(publisher, self._path, event)
        name = room.name or None
        payload = compact(encode(event, message, sender, name, None, publisher.json_default))
        if publisher.check_emit is not None:
            publisher.check_emit(self._path, event, payload)
        # By position: names take longer, and this is done for each emit.
        return Emission(
            room,
            payload,
            rooms if len(rooms) > 1 else (),
            except_socket,
            except_session,
            self._excluded,
            EMIT,
            1,
            volatile,
        )

    def _leave(self, rooms: tuple[str, ...]) -> list[Emission]:
        chosen = self._chosen()
        names = self._add((), rooms)
        return [each for room in names for each in leave_emissions(chosen, room)]

    def _disconnect(self, code: int, reason: str) -> Emission:
        return disconnect_emission(self._chosen(), code, reason)

    def _recheck(self, rooms: tuple[str, ...]) -> Emission:
        return recheck_emission(self._chosen(), self._add((), rooms))

    def _chosen(self) -> Chosen:
        return Chosen(self._path, self._rooms, self._excluded)


class Target(Recipients):
    """The recipients of a message: `app.to("chat")`. Immutable, so it can be kept and shared.

    Messages of one caller to one room reach all members in the order of the calls, once each.
    """

    __slots__ = ()

    async def emit(self, event: str, message: Any = None, *, volatile: bool = False) -> None:
        """Emit `event` to all recipients. Returns once the adapter has it; waits for no socket.

        Args:
            event: its name, which must not be one of the protocol's own.
            message: any value that can be encoded as JSON; also datetimes, UUIDs, dataclasses,
                decimals, sets, paths, models of pydantic, msgspec and attrs, and what the app's
                `json_default` converts.
            volatile: whether it may be lost, like a cursor's position, which the next one replaces.
                It is delivered at most once and in order with the room's other messages, but it
                is in no history. It passes over sockets that are behind (more than 64 KiB unsent,
                or not yet caught up after a reconnect), and is dropped without an error while
                Redis is unavailable.

        Raises:
            ValueError: the name of the event is invalid, the message has a NaN or an infinity, the
                payload is over 1 MiB, or in debug mode the message is not of the type that
                `WSRoom.emits` declares.
            TypeError: a value in the message cannot be encoded as JSON.
            AdapterError: delivery to all workers could not be confirmed.

        """
        await self._publisher.publish(self._emission(event, message, volatile))

    async def leave(self, *rooms: str) -> None:
        """Take these sockets out of rooms, on all workers: `await app.to("user:7").leave("chat")`.

        Nothing that is emitted to the rooms later reaches them. Joins that are under way fail with
        the code `left`, those of a `resume` too. The clients get `leftRoom`, and `on_left` is
        called. Whether they may join again is decided by the guard.

        It concerns the sockets that are in the chosen rooms at delivery: choose a user by a room
        that `on_connect` joined.

        Raises:
            ValueError: the name of a room is invalid, or a socket's id.
            AdapterError: delivery to all workers could not be confirmed; call it again.

        """
        for emission in self._leave(rooms):
            await self._publisher.publish(emission)

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """Close the connections of these sockets, on all workers.

        It concerns the sockets that are in the chosen rooms at delivery, and it is not delivered
        later: a client that reconnects meanwhile is the matter of `on_connect`. After the codes
        1008 and 4400 to 4499 the clients of wsroom do not reconnect.

        Raises:
            ValueError: the code must not be sent, or the reason is over 123 bytes.
            AdapterError: delivery to all workers could not be confirmed; call it again.

        """
        await self._publisher.publish(self._disconnect(code, reason))

    async def recheck(self, *rooms: str) -> None:
        """Ask again the guards that let these sockets into their rooms, on all workers.

        A socket that its guard rejects leaves the room, as by `leave`; one for which it raises
        `Disconnect` is closed. If a guard fails otherwise, that is logged and the socket stays.
        Rooms that the app has put a socket into are not checked. Returns before the guards have
        answered: each worker asks 32 at a time, beside the handlers.

        Args:
            rooms: the rooms to check; without any, all rooms of these sockets.

        Raises:
            ValueError: the name of a room is invalid.
            AdapterError: delivery to all workers could not be confirmed; call it again.

        """
        await self._publisher.publish(self._recheck(rooms))
