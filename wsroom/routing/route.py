"""The table of a path: the functions that are called on it. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

from wsroom.errors import SetupError
from wsroom.routing.callbacks import Callback, Guard, Handler, Registration
from wsroom.routing.patterns import Found, Pattern, ranked
from wsroom.routing.presence import CardMaker
from wsroom.schema.declared import ServerEvent
from wsroom.schema.parameters import Parameter
from wsroom.schema.schema import describe
from wsroom.stats import EventTraffic
from wsroom.wire.protocol import FROM_CLIENT, RESERVED_WITH_PRESENCE

ANY = "*"
"""Every event without its own handler, every room without its own guard, a hook of every path."""

MIDDLEWARE = "middleware"
"""The name under which middleware is in `Route.calls`, beside the hooks."""


Plans = Mapping[str, tuple[Callable[..., Any], bool, EventTraffic]]
"""Events, the functions that handle them, whether these want the message, and what is counted."""


class Layer(IntEnum):
    """The paths that a hook or middleware was registered for: the lowest is called first."""

    EVERY_PATH = 0
    """Every path of this router."""
    EVERY_INCLUDED_PATH = 1
    """Every path of a router that was included."""
    ONE_PATH = 2


class Route:
    """The handlers, guards, hooks and middleware of a path, or of a pattern of paths.

    Args:
        pattern: its path.
        measured: whether the time in its handlers is counted.

    """

    def __init__(self, pattern: Pattern, measured: bool = False) -> None:
        self.pattern = pattern
        self.open = 0
        """Sockets that are open."""
        self.opened = 0
        """Sockets whose handshake was accepted."""
        self.traffic: dict[str, EventTraffic] = {}
        """What is counted of each event that was received."""
        self._measured = measured
        self.handlers: dict[str, Handler] = {}
        self.guards: dict[str, Guard] = {}
        self.card_makers: dict[str, CardMaker] = {}
        """The functions of rooms with presence."""
        self.emits: dict[str, ServerEvent] = {}
        """The events that the app has declared that it emits."""
        self.parameters: dict[str, Parameter] = {}
        """The parameters of the path that have a type."""
        self.calls: dict[str, list[tuple[Layer, Callback]]] = {}
        """By name, the functions of a hook, or the middleware, in the order of their calls."""
        # The same without the layers: sockets look them up for each frame.
        self.hooks: dict[str, tuple[Callback, ...]] = {}
        self.middleware: tuple[Callback, ...] = ()
        self._plans: Plans | None = None

    def add_handler(self, event: str, handler: Handler) -> None:
        """Add the handler of an event; raises SetupError if it has one."""
        if event in self.handlers:
            raise SetupError(
                f"event {event!r} is already handled on {self.pattern.text!r}; "
                "use another name or path"
            )
        self._check_reserved(event)
        self.handlers[event] = handler

    def add_guard(self, guard: Guard) -> None:
        """Add the guard of its rooms; raises SetupError if they have one."""
        pattern = guard.pattern
        if pattern.shape in self.guards:
            raise SetupError(
                f"room {pattern.text!r} is already guarded on {self.pattern.text!r}; use one guard"
            )
        self.guards[pattern.shape] = guard
        self.guards = ranked(self.guards)

    def add_card_maker(self, maker: CardMaker) -> None:
        """Add presence to its rooms.

        Raises:
            SetupError: they have it already, or an event of the path has a name that is reserved
                then.

        """
        pattern = maker.pattern
        if pattern.shape in self.card_makers:
            raise SetupError(
                f"room {pattern.text!r} has presence already on {self.pattern.text!r}; "
                "use one function"
            )
        self.card_makers[pattern.shape] = maker
        self.card_makers = ranked(self.card_makers)
        for event in (*self.handlers, *self.emits):
            self._check_reserved(event)

    def _check_reserved(self, event: str) -> None:
        if self.card_makers and event in RESERVED_WITH_PRESENCE:
            raise SetupError(
                f"event {event!r} is part of the protocol on {self.pattern.text!r}, which has "
                "presence; use another name or path"
            )

    def add_emit(self, event: str, declared: ServerEvent) -> None:
        """Declare an event that the app emits, again if it has the same type.

        Raises:
            SetupError: it is declared with another type.

        """
        self._check_reserved(event)
        known = self.emits.get(event)
        if known is not None and known.annotation != declared.annotation:
            raise SetupError(
                f"{event!r} is declared on {self.pattern.text!r} as {describe(known.annotation)} "
                f"and as {describe(declared.annotation)}; declare one type"
            )
        if known is None or not known.doc:
            self.emits[event] = declared

    def add_parameters(self, parameters: Mapping[str, Parameter]) -> None:
        """Give parameters of the path their types; raises SetupError if one has another type."""
        for name, parameter in parameters.items():
            if parameter.annotation in (Any, object):
                continue
            known = self.parameters.setdefault(name, parameter)
            if known.annotation != parameter.annotation:
                raise SetupError(
                    f"parameter {{{name}}} of {self.pattern.text!r} must be {known.expected}, and "
                    f"also {parameter.expected}; annotate it with one type"
                )

    def read(self, path: str) -> dict[str, Any] | None:
        """Return the values of the path's parameters, by their types.

        None if it is a path of another route; raises ValueError if a value is not of its type.
        """
        values: dict[str, Any] | None = self.pattern.match(path)
        if values is not None:
            for name, parameter in self.parameters.items():
                values[name] = parameter.read(values[name])
        return values

    def include(self, other: Route) -> None:
        """Copy what is registered on the same path of a router that is included.

        Raises:
            SetupError: something is registered twice.

        """
        for event, handler in other.handlers.items():
            self.add_handler(event, handler)
        for guard in other.guards.values():
            self.add_guard(guard)
        for maker in other.card_makers.values():
            self.add_card_maker(maker)
        for event, declared in other.emits.items():
            self.add_emit(event, declared)
        self.add_parameters(other.parameters)
        for name, calls in other.calls.items():
            for layer, callback in calls:
                self.add_call(name, callback, max(layer, Layer.EVERY_INCLUDED_PATH))

    def add_call(self, name: str, callback: Callback, layer: Layer) -> None:
        """Add a function to a hook, or to the middleware, after those of the same layer."""
        calls = self.calls.setdefault(name, [])
        calls.append((layer, callback))
        calls.sort(key=lambda call: call[0])
        callbacks = tuple(callback for _, callback in calls)
        if name == MIDDLEWARE:
            self.middleware = callbacks
        else:
            self.hooks[name] = callbacks

    @property
    def plans(self) -> Plans:
        """The handlers that can be called at once, by event: for most frames, all that is needed.

        They are `async def`, not concurrent, without a rate and without middleware. Made when the
        app serves, when nothing can be registered any more.
        """
        if self._plans is None:
            self._plans = {
                event: (*self._measured_function(event, handler), self.traffic_of(event))
                for event, handler in self.handlers.items()
                if handler.plain and not self.middleware
            }
        return self._plans

    def _measured_function(self, event: str, handler: Handler) -> tuple[Callable[..., Any], bool]:
        function, times = handler.checked_function, self.traffic_of(event).times
        return (times.measured(function) if times else function), handler.wants_message

    def traffic_of(self, event: str) -> EventTraffic:
        """Return what is counted of an event; one for all events without a handler of their own."""
        if event not in self.handlers and event not in FROM_CLIENT:
            event = ANY
        traffic = self.traffic.get(event)
        if traffic is None:
            traffic = self.traffic[event] = EventTraffic(self._measured)
        return traffic

    def guard(self, room: str) -> tuple[Guard, dict[str, str]] | None:
        """Return the guard of `room`, and the values of its pattern.

        One guard decides: the exact name before patterns, patterns before "*".
        """
        return _find(self.guards, room)

    def card_maker(self, room: str) -> tuple[CardMaker, dict[str, str]] | None:
        """Return the function that makes the cards of `room`, and the values of its pattern.

        None if the room has no presence.
        """
        return _find(self.card_makers, room) if self.card_makers else None

    def registrations(self) -> Iterator[Registration]:
        """Yield what is called on this path: hooks, guards, presence, middleware, events."""
        path = self.pattern.text
        for name, callbacks in self.hooks.items():
            for callback in callbacks:
                yield Registration(path, "hook", name, callback.function)
        for guard in self.guards.values():
            yield Registration(path, "guard", guard.pattern.text, guard.callback.function)
        for maker in self.card_makers.values():
            yield Registration(path, "presence", maker.pattern.text, maker.callback.function)
        for callback in self.middleware:
            yield Registration(path, "middleware", "", callback.function)
        for name, handler in self.handlers.items():
            yield Registration(path, "event", name, handler.callback.function, handler.concurrent)


def _find(table: Mapping[str, Found], room: str) -> tuple[Found, dict[str, str]] | None:
    for found in table.values():
        if found.pattern.text == ANY:
            continue
        values = found.pattern.match(room)
        if values is not None:
            return found, values
    rest = table.get(ANY)
    return (rest, {}) if rest is not None else None
