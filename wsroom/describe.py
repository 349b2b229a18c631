"""From what is registered in an app to its contract, and to its document.

No I/O and no asyncio here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import orjson

from wsroom.errors import SetupError
from wsroom.functions import signature_of, takes
from wsroom.routing.callbacks import Registration
from wsroom.routing.patterns import Pattern
from wsroom.routing.route import ANY
from wsroom.routing.router import Router
from wsroom.schema.asyncapi import document
from wsroom.schema.contract import ClientEvent, Contract, PathContract, RoomContract


class Documentation:
    """The AsyncAPI document of an app, and what the app gives to it itself.

    Args:
        app: the app.
        docs: whether the document is served without `debug` too, or parts of it, which are merged
            into the rest.
        debug: whether the app runs with `debug=True`.

    Raises:
        SetupError: `docs` is of another type, or contains what is not JSON.

    """

    def __init__(self, app: Router, docs: bool | Mapping[str, Any], debug: bool) -> None:
        if not isinstance(docs, bool | Mapping):
            raise SetupError(f"docs is {docs!r}; use True, or a mapping like {{'info': {{...}}}}")
        self._app = app
        self.parts: Mapping[str, Any] = docs if isinstance(docs, Mapping) else {}
        self.served = debug or docs is not False
        try:
            orjson.dumps(self.parts)
        except TypeError as exc:
            raise SetupError(f"docs is not JSON: {exc}") from None

    def written(self, builtins: bool = True) -> dict[str, Any]:
        """Return the document."""
        return document(contract_of(self._app, self.parts), builtins=builtins)

    @cached_property
    def _served(self) -> dict[str, Any]:
        # For requests: by then nothing can be registered any more.
        return self.written()

    def served_at(self, server: Mapping[str, str]) -> bytes:
        """Return the document as JSON; without `servers` of its own, with this one."""
        return orjson.dumps({"servers": {"this": server}} | self._served)


def contract_of(app: Router, parts: Mapping[str, Any] | None = None, mount: str = "") -> Contract:
    """Return what an app and its clients say to each other, in the order of the routes.

    Args:
        app: the app, or a router.
        parts: what the app gives to the AsyncAPI document itself.
        mount: the path under which the app is mounted.

    """
    found = (each for each in app.registrations() if each.kind != "page")
    paths = tuple(
        _path(mount, path, list(group))
        for path, group in groupby(found, key=lambda each: each.path)
    )
    return Contract(paths=paths, document=parts or {})


def _path(mount: str, path: str, found: list[Registration]) -> PathContract:
    connect = [each for each in found if (each.kind, each.name) == ("hook", "on_connect")]
    return PathContract(
        path=mount + path,
        doc="\n\n".join(filter(None, (doc_of(each.function) for each in connect))),
        parameters=dict.fromkeys(Pattern(path, "/").names),
        rooms=tuple(_room(each) for each in found if each.kind == "guard"),
        client=tuple(_client_event(each) for each in found if each.kind == "event"),
    )


def _room(found: Registration) -> RoomContract:
    names = () if found.name == ANY else Pattern(found.name, ":").names
    return RoomContract(
        pattern=found.name, doc=doc_of(found.function), parameters=dict.fromkeys(names)
    )


def _client_event(found: Registration) -> ClientEvent:
    # A handler without a parameter for it gets no message.
    wants_message = takes(signature_of(found.function), 2)
    return ClientEvent(
        event=found.name,
        doc=doc_of(found.function),
        message=None if wants_message else {"type": "null"},
    )


def doc_of(function: Callable[..., Any]) -> str:
    """Return the docstring of a user's function, of a method, or of what a partial calls."""
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    return inspect.getdoc(inner) or ""
