"""From what is registered in an app to its contract, and to its document.

No I/O and no asyncio here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import orjson

from wsroom.errors import SetupError
from wsroom.routing.callbacks import Guard, Handler
from wsroom.routing.patterns import Pattern
from wsroom.routing.presence import CardMaker
from wsroom.routing.route import Route
from wsroom.routing.router import Router
from wsroom.schema import declared
from wsroom.schema.annotations import doc_of
from wsroom.schema.asyncapi import document
from wsroom.schema.contract import (
    ClientEvent,
    Contract,
    JsonSchema,
    Names,
    PathContract,
    RoomContract,
    ServerEvent,
)
from wsroom.schema.parameters import Parameter
from wsroom.schema.schema import Mode, Schema


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
    paths = tuple(_path(mount, route) for route in app.routes)
    return Contract(paths=paths, document=parts or {})


def _path(mount: str, route: Route) -> PathContract:
    connect = (doc_of(each.function) for each in route.hooks.get("on_connect", ()))
    return PathContract(
        path=mount + route.pattern.text,
        doc="\n\n".join(filter(None, connect)),
        parameters=_parameters(route.pattern, route.parameters),
        rooms=tuple(_rooms(route)),
        client=tuple(_client_event(*item) for item in route.handlers.items()),
        server=tuple(_server_event(*item) for item in route.emits.items()),
    )


def _rooms(route: Route) -> Iterator[RoomContract]:
    # Rooms of a guard may have presence by the same pattern, or by another one.
    makers = dict(route.card_makers)
    for shape, guard in route.guards.items():
        yield _room(guard, doc_of(guard.callback.function), makers.pop(shape, None))
    for maker in makers.values():
        yield _room(maker, "", maker)


def _room(found: Guard | CardMaker, doc: str, maker: CardMaker | None) -> RoomContract:
    return RoomContract(
        pattern=found.pattern.text,
        doc=doc,
        parameters=_parameters(found.pattern, found.parameters),
        presence=None if maker is None else _card(maker),
    )


def _card(maker: CardMaker) -> JsonSchema:
    return _json_schema(maker.schema, "serialization") or {"type": "object"}


def _parameters(pattern: Pattern, known: Mapping[str, Parameter]) -> Names:
    return {name: known[name].json_schema if name in known else None for name in pattern.names}


def _client_event(event: str, handler: Handler) -> ClientEvent:
    said = handler.declared
    # A handler without a parameter for it gets no message.
    message = _json_schema(said.message, "validation")
    return ClientEvent(
        event=event,
        doc=said.doc,
        message=message if handler.wants_message else {"type": "null"},
        reply=_json_schema(said.reply, "serialization"),
        raises=said.raises,
    )


def _server_event(event: str, said: declared.ServerEvent) -> ServerEvent:
    message = _json_schema(said.message, "serialization")
    return ServerEvent(event=event, doc=said.doc, message=message)


def _json_schema(schema: Schema | None, mode: Mode) -> JsonSchema | None:
    return None if schema is None else schema.json_schema(mode)
