"""Registering hooks and middleware. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from wsroom.routing.callbacks import (
    Callback,
    check_hook,
    connect_callback,
    hook_callback,
    middleware_callback,
)
from wsroom.routing.registry import Registry
from wsroom.routing.route import ANY, MIDDLEWARE, Layer
from wsroom.routing.signatures import (
    ConnectHook,
    DisconnectHook,
    ErrorHook,
    MiddlewareFunction,
    OpenHook,
    RoomHook,
)

Function = TypeVar("Function", bound=Callable[..., Any])


class Hooks(Registry):
    """The decorators of a router for hooks and middleware."""

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
        check_hook(hook)
        if hook == "on_connect" and self._check_path(path, hook) != ANY:
            route = self._route(path, hook)
            callback, parameters = connect_callback(function, route.pattern)
            route.add_parameters(parameters)
            route.add_call(hook, callback, Layer.ONE_PATH)
            return
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
