"""Routers: registering functions, and finding the route of a path. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, takes
from wsroom.routing.callbacks import (
    Callback,
    Guard,
    Handler,
    Registration,
    hook_callback,
    middleware_callback,
)
from wsroom.routing.patterns import Pattern, ranked
from wsroom.routing.route import ANY, MIDDLEWARE, Layer, Route
from wsroom.routing.routes import Routes
from wsroom.routing.signatures import (
    ConnectHook,
    DisconnectHook,
    ErrorHook,
    GuardFunction,
    HandlerFunction,
    MiddlewareFunction,
    OpenHook,
    PageFunction,
    RoomHook,
)
from wsroom.wire.names import NameChecker

Function = TypeVar("Function", bound=Callable[..., Any])


class Part(Protocol):
    """Something that `include` accepts: a Router, or an object that makes one."""

    def router(self) -> Router: ...


class Router:
    """Handlers, guards, hooks, middleware and pages for an app, for apps of several files.

    It has the app's decorators; `app.include(router)` copies its registrations.

    Args:
        path: the WebSocket path of registrations that give none.

    """

    def __init__(self, path: str = "/ws") -> None:
        self.path = path
        # Without limits: a router must not be stricter than the app that includes it.
        self._names = NameChecker(None)
        self._routes = Routes()
        self._pages: dict[str, Callback] = {}
        self._frozen = ""

    # -- decorators, and the methods that do the same ----------------------------------------

    def on(
        self, event: str, *, path: str | None = None, concurrent: bool = False
    ) -> Callable[[HandlerFunction], HandlerFunction]:
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

        def register(function: HandlerFunction) -> HandlerFunction:
            self.add_handler(event, function, path=path, concurrent=concurrent)
            return function

        return register

    def add_handler(
        self,
        event: str,
        function: HandlerFunction,
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
        route.handlers[event] = Handler.of(event, function, concurrent)

    def on_connect(self, path: str | None = None) -> Callable[[ConnectHook], ConnectHook]:
        """Call `(socket)` before the handshake; raise `Reject` to refuse it with an HTTP status.

        What it returns is `socket.user`, unless it is None; `False` refuses with 403. With several
        functions, the last value counts, and the first refusal ends it.
        """
        return self._hook("on_connect", path)

    def on_open(self, path: str | None = None) -> Callable[[OpenHook], OpenHook]:
        """Call `(emitter)` after `connected` was sent, for example to send state."""
        return self._hook("on_open", path)

    def on_joined(self, path: str | None = None) -> Callable[[RoomHook], RoomHook]:
        """Call `(emitter, room)` after a socket joined a room, by the client or by the app."""
        return self._hook("on_joined", path)

    def on_left(self, path: str | None = None) -> Callable[[RoomHook], RoomHook]:
        """Call `(emitter, room)` after a socket left a room; when it disconnects, for each room."""
        return self._hook("on_left", path)

    def on_disconnect(self, path: str | None = None) -> Callable[[DisconnectHook], DisconnectHook]:
        """Call `(socket, code)` last, exactly once for each accepted socket.

        `socket.rooms` still has its rooms; `code` is the close code: the app's if the app closed.
        """
        return self._hook("on_disconnect", path)

    def on_error(self, path: str | None = None) -> Callable[[ErrorHook], ErrorHook]:
        """Call `(emitter, exc)` with an exception that a handler raised, instead of logging it."""
        return self._hook("on_error", path)

    def _hook(self, hook: str, path: str | None) -> Callable[[Function], Function]:
        self._check_path(path, hook)  # raises at the line of the decorator

        def register(function: Function) -> Function:
            self.add_hook(hook, function, path=path)
            return function

        return register

    def add_hook(self, hook: str, function: Callable[..., Any], *, path: str | None = None) -> None:
        """Do what `@on_connect()`, `@on_open()` and so on do: `add_hook("on_connect", function)`.

        A hook may have several functions: they are called in the order of registration. With the
        path "*" a function is called on every path, before the path's own.

        Raises:
            SetupError: there is no such hook, or the function takes other arguments.

        """
        self._add_call(hook, hook_callback(hook, function), path)

    def middleware(
        self, path: str | None = None
    ) -> Callable[[MiddlewareFunction], MiddlewareFunction]:
        """Call `(emitter, message, call)` around the handlers of `path`, or of "*", every path.

        `await call(message)` calls the next middleware, or the handler, and returns what it
        returns. The middleware may give it another message, or not call it; what it returns is the
        reply. What it raises is answered like an exception of the handler.

        The first that was registered is the outermost; those of "*" are outside the path's own.
        `joinRoom`, `leaveRoom`, `resume` and hooks have no middleware.

        Raises:
            SetupError: the function is not `async def`, or takes other arguments.

        """
        self._check_path(path, MIDDLEWARE)

        def register(function: MiddlewareFunction) -> MiddlewareFunction:
            self.add_middleware(function, path=path)
            return function

        return register

    def add_middleware(self, function: MiddlewareFunction, *, path: str | None = None) -> None:
        """Do what `@middleware()` does, without a decorator."""
        self._add_call(MIDDLEWARE, middleware_callback(function), path)

    def _add_call(self, name: str, callback: Callback, path: str | None) -> None:
        if self._check_path(path, name) != ANY:
            self._route(path, name).add_call(name, callback, Layer.ONE_PATH)
            return
        self._routes.add_to_every_path(name, callback)

    def on_join(
        self, room: str = ANY, *, path: str | None = None, replay: int | None = None
    ) -> Callable[[GuardFunction], GuardFunction]:
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

        def register(function: GuardFunction) -> GuardFunction:
            self.add_guard(function, room, path=path, replay=replay)
            return function

        return register

    def add_guard(
        self,
        function: GuardFunction,
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
        route.guards = ranked(route.guards)

    def page(self, path: str) -> Callable[[PageFunction], PageFunction]:
        """Serve the HTML, a string, that the decorated function returns, at `path` over HTTP."""

        def register(function: PageFunction) -> PageFunction:
            self.add_page(path, function)
            return function

        return register

    def add_page(self, path: str, function: PageFunction) -> None:
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
        """Copy what routers and controllers have registered into this one.

        Their hooks and middleware of the path "*" are called on their own paths only, after those
        of this router.

        Raises:
            SetupError: something is registered twice, `parts` has another object, or a router has
                only hooks or middleware of "*", and no path to call them on.

        """
        for part in parts:
            if isinstance(part, type) or not hasattr(part, "router"):
                raise SetupError(f"cannot include {part!r}; give a Router() or a Controller()")
            router = part.router()
            if router._routes.every_path and not router._routes:
                raise SetupError(
                    "the router has hooks or middleware of every path, but no path; "
                    "register them on the app"
                )
            router._frozen = "it has been included"
            for route in router._routes:
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
        for name, calls in route.calls.items():
            for layer, callback in calls:
                layer = max(layer, Layer.EVERY_INCLUDED_PATH)
                self._route(path, name).add_call(name, callback, layer)

    def router(self) -> Router:
        """Return itself; `include` calls this method of each part."""
        return self

    def registrations(self) -> tuple[Registration, ...]:
        """Return what is registered: pages, then for each path what is called on it.

        These are its hooks, guards, middleware and events, each in the order of the calls. What was
        registered for the path "*" is listed with every path.
        """
        pages = [Registration(p, "page", "", page.function) for p, page in self._pages.items()]
        return (*pages, *(found for route in self._routes for found in route.registrations()))

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """Find the route of a concrete path and its parameters; fixed paths before patterns."""
        return self._routes.find(path)

    def _route(self, path: str | None, registered: str) -> Route:
        path = self._check_path(path, registered)
        if path == ANY:
            raise SetupError(
                f"path {path!r} is for hooks and middleware only; give {registered} one path"
            )
        return self._routes.at(path)

    def _check_path(self, path: str | None, registered: str) -> str:
        self._check_open()
        if callable(path):
            raise SetupError(f"write @app.{registered}() with parentheses")
        path = self.path if path is None else path
        if path != ANY and (not isinstance(path, str) or not path.startswith("/")):
            raise SetupError(f'path {path!r} must begin with "/"')
        return path

    def _check_open(self) -> None:
        if self._frozen:
            raise SetupError(f"too late to register here: {self._frozen}; register before")


def _check_name(kind: str, name: object, right: str) -> None:
    if not isinstance(name, str):
        raise SetupError(f"{kind} {name!r} is not a string; write {right}")
