"""Routers: which function handles which event on which path. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, takes
from wsroom.routing.callbacks import HOOKS, Callback, Guard, Handler, Registration
from wsroom.routing.patterns import Pattern
from wsroom.wire.names import NameChecker
from wsroom.wire.protocol import has_control_character

Function = TypeVar("Function", bound=Callable[..., Any])

ANY = "*"
"""Every event without its own handler; every room without its own guard."""


class Route:
    """The handlers, guards and hooks of a path, or of a pattern of paths."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.handlers: dict[str, Handler] = {}
        self.guards: dict[str, Guard] = {}
        self.hooks: dict[str, Callback] = {}

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
        """Yield what is registered on this path: hooks, then guards, then events."""
        path = self.pattern.text
        for name, callback in self.hooks.items():
            yield Registration(path, "hook", name, callback.function)
        for guard in self.guards.values():
            yield Registration(path, "guard", guard.pattern.text, guard.callback.function)
        for name, handler in self.handlers.items():
            yield Registration(path, "event", name, handler.callback.function, handler.concurrent)


class Part(Protocol):
    """Something that `include` accepts: a Router, or an object that makes one."""

    def router(self) -> Router: ...


class Router:
    """Handlers, guards, hooks and pages for an app, for apps of several files.

    It has the app's decorators; `app.include(router)` copies its registrations.

    Args:
        path: the WebSocket path of registrations that give none.

    """

    def __init__(self, path: str = "/ws") -> None:
        self.path = path
        # Without limits: a router must not be stricter than the app that includes it.
        self._names = NameChecker(None)
        self._routes: dict[str, Route] = {}
        self._pages: dict[str, Callback] = {}
        self._frozen = ""

    # -- decorators, and the methods that do the same ----------------------------------------

    def on(
        self, event: str, *, path: str | None = None, concurrent: bool = False
    ) -> Callable[[Function], Function]:
        """Handle `event` on `path` with the decorated function, which is returned unchanged.

        The function takes `(emitter)` or `(emitter, message)`; `async def` runs on the event loop,
        `def` in a thread with a `BlockingEmitter`. One handler at a time runs for a socket, in the
        order of arrival; with `concurrent=True` the socket's next frames do not wait for this one
        (up to 32 run for a socket). The return value answers a frame that has an `id`.

        Args:
            event: the name, or "*" for every event without a handler.
            path: the WebSocket path; `{name}` in it matches one segment.
            concurrent: whether the socket's next frames are handled while this handler runs.

        Raises:
            SetupError: the event is already handled or reserved, or the function takes other
                arguments.

        """
        _check_name("event", event, '@app.on("intro")')

        def register(function: Function) -> Function:
            self.add_handler(event, function, path=path, concurrent=concurrent)
            return function

        return register

    def add_handler(
        self,
        event: str,
        function: Callable[..., Any],
        *,
        path: str | None = None,
        concurrent: bool = False,
    ) -> None:
        """Do what `@on(event)` does, without a decorator."""
        route = self._route(path, "on")
        _check_name("event", event, '@app.on("intro")')
        try:
            self._names.check_event(event)
        except ValueError as exc:
            raise SetupError(str(exc)) from None
        if event in route.handlers:
            raise SetupError(
                f"event {event!r} is already handled on {route.pattern.text!r}; "
                "use another name or path"
            )
        signature = signature_of(function)
        wants_message = takes(signature, 2)
        if not wants_message and not takes(signature, 1):
            raise SetupError(
                f"{name_of(function)}{signature} cannot handle {event!r}; "
                "a handler takes (emitter) or (emitter, message)"
            )
        route.handlers[event] = Handler(Callback.of(function), wants_message, concurrent)

    def on_connect(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(socket)` before the handshake; raise `Reject` to refuse it with an HTTP status."""
        return self._hook("on_connect", path)

    def on_open(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(emitter)` after `connected` was sent, for example to send state."""
        return self._hook("on_open", path)

    def on_joined(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(emitter, room)` after a socket joined a room, by the client or by the app."""
        return self._hook("on_joined", path)

    def on_left(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(emitter, room)` after a socket left a room; when it disconnects, for each room."""
        return self._hook("on_left", path)

    def on_disconnect(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(socket, code)` last, exactly once for each accepted socket.

        `socket.rooms` still has its rooms; `code` is the close code: the app's if the app closed.
        """
        return self._hook("on_disconnect", path)

    def on_error(self, path: str | None = None) -> Callable[[Function], Function]:
        """Call `(emitter, exc)` with an exception that a handler raised, instead of logging it."""
        return self._hook("on_error", path)

    def _hook(self, hook: str, path: str | None) -> Callable[[Function], Function]:
        self._route(path, hook)  # raises at the line of the decorator

        def register(function: Function) -> Function:
            self.add_hook(hook, function, path=path)
            return function

        return register

    def add_hook(self, hook: str, function: Callable[..., Any], *, path: str | None = None) -> None:
        """Do what `@on_connect()`, `@on_open()` and so on do: `add_hook("on_connect", function)`.

        Raises:
            SetupError: there is no such hook, it is already set on this path, or the function
                takes other arguments.

        """
        if hook not in HOOKS:
            raise SetupError(f"no hook {hook!r}; there are {', '.join(HOOKS)}")
        route = self._route(path, hook)
        if hook in route.hooks:
            raise SetupError(
                f"{hook} is already set on {route.pattern.text!r}; do both in one function"
            )
        signature = signature_of(function)
        if not takes(signature, len(HOOKS[hook])):
            raise SetupError(
                f"{name_of(function)}{signature} cannot be {hook}; "
                f"it is called with ({', '.join(HOOKS[hook])})"
            )
        route.hooks[hook] = Callback.of(function)

    def on_join(
        self, room: str = ANY, *, path: str | None = None, replay: int | None = None
    ) -> Callable[[Function], Function]:
        """Call `(socket, room)` before a client joins a room; raise `Reject` to refuse.

        `room` is a name, a pattern like "order:{id}" whose values the function may take as
        arguments, or "*". One guard decides: the exact name before patterns, patterns before "*".
        Once a path has a guard, rooms without one are refused. Joins of the app (`socket.join`)
        are not guarded.

        A client that joins may ask for up to `replay` earlier messages of the room: none if it is
        0, and `Limits.replay` of them if it is None.
        """
        _check_name("room", room, "@app.on_join() with parentheses")
        self._route(path, "on_join")

        def register(function: Function) -> Function:
            self.add_guard(function, room, path=path, replay=replay)
            return function

        return register

    def add_guard(
        self,
        function: Callable[..., Any],
        room: str = ANY,
        *,
        path: str | None = None,
        replay: int | None = None,
    ) -> None:
        """Do what `@on_join(room)` does, without a decorator."""
        route = self._route(path, "on_join")
        _check_name("room", room, "@app.on_join() with parentheses")
        pattern = Pattern(room, ":")
        if pattern.shape in route.guards:
            raise SetupError(
                f"room {room!r} is already guarded on {route.pattern.text!r}; use one guard"
            )
        route.guards[pattern.shape] = Guard.of(function, pattern, replay)
        route.guards = _ranked(route.guards)

    def page(self, path: str) -> Callable[[Function], Function]:
        """Serve the HTML, a string, that the decorated function returns, at `path` over HTTP."""

        def register(function: Function) -> Function:
            self.add_page(path, function)
            return function

        return register

    def add_page(self, path: str, function: Callable[..., Any]) -> None:
        """Do what `@page(path)` does, without a decorator."""
        self._check_open()
        if not isinstance(path, str) or not path.startswith("/"):
            raise SetupError(f'a page\'s path {path!r} must begin with "/"')
        if path in self._pages:
            raise SetupError(f"a page is already at {path!r}; use another path")
        if not takes(signature_of(function), 0):
            raise SetupError(
                f"{name_of(function)} cannot be a page; it is called without arguments"
            )
        self._pages[path] = Callback.of(function)

    # -- including routers -----------------------------------------------------------------

    def include(self, *parts: Part) -> None:
        """Copy the handlers, guards, hooks and pages of routers and controllers into this one.

        Raises:
            SetupError: something is registered twice, or `parts` has another object.

        """
        for part in parts:
            if isinstance(part, type) or not hasattr(part, "router"):
                raise SetupError(f"cannot include {part!r}; give a Router() or a Controller()")
            router = part.router()
            router._frozen = "it has been included"
            for route in router._routes.values():
                self._include(route)
            for path, callback in router._pages.items():
                self.add_page(path, callback.function)

    def _include(self, route: Route) -> None:
        path = route.pattern.text
        for event, handler in route.handlers.items():
            self.add_handler(
                event, handler.callback.function, path=path, concurrent=handler.concurrent
            )
        for guard in route.guards.values():
            function, text = guard.callback.function, guard.pattern.text
            self.add_guard(function, text, path=path, replay=guard.replay)
        for hook, callback in route.hooks.items():
            self.add_hook(hook, callback.function, path=path)

    def router(self) -> Router:
        """Return itself; `include` calls this method of each part."""
        return self

    def registrations(self) -> tuple[Registration, ...]:
        """Return what is registered: pages, then for each path its hooks, guards and events."""
        pages = [Registration(p, "page", "", page.function) for p, page in self._pages.items()]
        routes = self._routes.values()
        return (*pages, *(found for route in routes for found in route.registrations()))

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """Find the route of a concrete path and its parameters; fixed paths before patterns."""
        if has_control_character(path):
            return None  # it could forge lines of the log
        route = self._routes.get(path)
        if route is not None and not route.pattern.names:
            return route, {}
        for route in self._routes.values():
            values = route.pattern.match(path)
            if values is not None:
                return route, values
        return None

    def _route(self, path: str | None, hook: str) -> Route:
        self._check_open()
        if callable(path):
            raise SetupError(f"write @app.{hook}() with parentheses")
        path = self.path if path is None else path
        if not isinstance(path, str) or not path.startswith("/"):
            raise SetupError(f'path {path!r} must begin with "/"')
        pattern = Pattern(path, "/")
        route = self._routes.get(pattern.shape)
        if route is None:
            route = self._routes[pattern.shape] = Route(pattern)
            self._routes = _ranked(self._routes)
        if route.pattern.text != path:
            raise SetupError(
                f"path {path!r} is the same as {route.pattern.text!r}; use the same names"
            )
        return route

    def _check_open(self) -> None:
        if self._frozen:
            raise SetupError(f"too late to register here: {self._frozen}; register before")


def _check_name(kind: str, name: object, right: str) -> None:
    if not isinstance(name, str):
        raise SetupError(f"{kind} {name!r} is not a string; write {right}")


Ranked = TypeVar("Ranked", Route, Guard)


def _ranked(table: dict[str, Ranked]) -> dict[str, Ranked]:
    # Sorted at registration, so that a look-up takes the first match.
    return dict(sorted(table.items(), key=lambda item: item[1].pattern.rank))
