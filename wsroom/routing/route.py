"""The table of a path: the functions that are called on it. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

from wsroom.routing.callbacks import Callback, Guard, Handler, Registration
from wsroom.routing.patterns import Pattern

ANY = "*"
"""Every event without its own handler, every room without its own guard, a hook of every path."""

MIDDLEWARE = "middleware"
"""The name under which middleware is in `Route.calls`, beside the hooks."""


Plans = Mapping[str, tuple[Callable[..., Any], bool]]
"""Events, the functions that handle them, and whether these want the message."""


class Layer(IntEnum):
    """The paths that a hook or middleware was registered for: the lowest is called first."""

    EVERY_PATH = 0
    """Every path of this router."""
    EVERY_INCLUDED_PATH = 1
    """Every path of a router that was included."""
    ONE_PATH = 2


class Route:
    """The handlers, guards, hooks and middleware of a path, or of a pattern of paths."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.handlers: dict[str, Handler] = {}
        self.guards: dict[str, Guard] = {}
        self.calls: dict[str, list[tuple[Layer, Callback]]] = {}
        """By name, the functions of a hook, or the middleware, in the order of their calls."""
        # The same without the layers: sockets look them up for each frame.
        self.hooks: dict[str, tuple[Callback, ...]] = {}
        self.middleware: tuple[Callback, ...] = ()
        self._plans: Plans | None = None

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

        They are `async def`, not concurrent, and without middleware. Made when the app serves, when
        nothing can be registered any more.
        """
        if self._plans is None:
            self._plans = {
                event: (handler.callback.function, handler.wants_message)
                for event, handler in self.handlers.items()
                if handler.callback.is_async and not handler.concurrent and not self.middleware
            }
        return self._plans

    def guard(self, room: str) -> tuple[Guard, dict[str, str]] | None:
        """Return the guard of `room`, and the values of its pattern that it takes.

        One guard decides: the exact name before patterns, patterns before "*".
        """
        for guard in self.guards.values():
            if guard.pattern.text == ANY:
                continue
            values = guard.pattern.match(room)
            if values is not None:
                return guard, {name: values[name] for name in guard.wanted}
        rest = self.guards.get(ANY)
        return (rest, {}) if rest else None

    def registrations(self) -> Iterator[Registration]:
        """Yield what is called on this path: hooks, then guards, then middleware, then events."""
        path = self.pattern.text
        for name, callbacks in self.hooks.items():
            for callback in callbacks:
                yield Registration(path, "hook", name, callback.function)
        for guard in self.guards.values():
            yield Registration(path, "guard", guard.pattern.text, guard.callback.function)
        for callback in self.middleware:
            yield Registration(path, "middleware", "", callback.function)
        for name, handler in self.handlers.items():
            yield Registration(path, "event", name, handler.callback.function, handler.concurrent)
