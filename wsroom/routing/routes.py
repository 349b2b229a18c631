"""The table of all paths, and finding the route of a path. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsroom.errors import SetupError
from wsroom.routing.callbacks import Callback
from wsroom.routing.patterns import Pattern, ranked
from wsroom.routing.route import Layer, Route
from wsroom.wire.protocol import has_control_character


class Routes:
    """The routes of a router, and what it calls on each of them."""

    def __init__(self) -> None:
        self.every_path: list[tuple[str, Callback]] = []
        """Hooks and middleware of every path, also of paths that are added later."""
        self.measured = False
        """Whether the time in handlers is counted, of paths that are added later."""
        self._routes: dict[str, Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def __bool__(self) -> bool:
        return bool(self._routes)

    def at(self, path: str) -> Route:
        """Return the route of a path or of a pattern; it is added if it is new.

        Raises:
            SetupError: the pattern is invalid, or names its parameters otherwise than before.

        """
        pattern = Pattern(path, "/")
        route = self._routes.get(pattern.shape)
        if route is None:
            route = self._routes[pattern.shape] = Route(pattern, self.measured)
            for name, callback in self.every_path:
                route.add_call(name, callback, Layer.EVERY_PATH)
            self._routes = ranked(self._routes)
        if route.pattern.text != path:
            raise SetupError(
                f"path {path!r} is the same as {route.pattern.text!r}; use the same names"
            )
        return route

    def add_to_every_path(self, name: str, callback: Callback) -> None:
        """Add a function to a hook, or to the middleware, of every path."""
        self.every_path.append((name, callback))
        for route in self:
            route.add_call(name, callback, Layer.EVERY_PATH)

    def find(self, path: str) -> tuple[Route, dict[str, Any]] | None:
        """Find the route of a concrete path and its parameters; fixed paths before patterns.

        None if there is none, or if a parameter is not of its type in the first route that matches.
        """
        if has_control_character(path):
            return None  # it could forge lines of the log
        route = self._routes.get(path)
        if route is not None and not route.pattern.names:
            return route, {}
        for route in self:
            try:
                values = route.read(path)
            except ValueError:
                return None
            if values is not None:
                return route, values
        return None
