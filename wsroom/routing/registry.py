"""The tables of a router, and what may be registered in them. No I/O and no asyncio here."""

from __future__ import annotations

from typing import Any

from wsroom.errors import SetupError
from wsroom.routing.route import ANY, Route
from wsroom.routing.routes import Routes
from wsroom.wire.names import NameChecker


class Registry:
    """The routes of a router.

    Args:
        path: the WebSocket path of registrations that give none.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Without limits: a router must not be stricter than the app that includes it.
        self._names = NameChecker(None)
        self._routes = Routes()
        self._frozen = ""

    @property
    def routes(self) -> Routes:
        """The table of all paths, for what describes the app."""
        return self._routes

    def find(self, path: str) -> tuple[Route, dict[str, Any]] | None:
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
        path = self._path if path is None else path
        if path != ANY and (not isinstance(path, str) or not path.startswith("/")):
            raise SetupError(f'path {path!r} must begin with "/"')
        return path

    def _check_event(self, event: str, right: str) -> None:
        check_name("event", event, right)
        try:
            self._names.check_event(event)
        except ValueError as exc:
            raise SetupError(str(exc)) from None

    def _check_open(self) -> None:
        if self._frozen:
            raise SetupError(f"too late to register here: {self._frozen}; register before")


def check_name(kind: str, name: object, right: str) -> None:
    if not isinstance(name, str):
        raise SetupError(f"{kind} {name!r} is not a string; write {right}")
