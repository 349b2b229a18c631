"""The contract of an app whose annotations are pydantic's."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.support.contracts import received, sent
from wsroom import WSRoom
from wsroom.describe import contract_of
from wsroom.schema.contract import ClientEvent, Contract, ServerEvent


def contract_of_annotations(app: WSRoom, emitted: Mapping[str, Any]) -> Contract:
    """Fill the contract of an app with one path: by its handlers, and by what it emits."""
    functions = {each.name: each.function for each in app.registrations() if each.kind == "event"}

    def typed(event: ClientEvent) -> ClientEvent:
        function = inspect.unwrap(functions[event.event])
        hints = typing.get_type_hints(function)
        message = sent(hints["message"]) if "message" in hints else event.message
        return replace(event, message=message, reply=received(hints["return"]))

    (path,) = contract_of(app).paths
    server = tuple(ServerEvent(event=n, message=received(kind)) for n, kind in emitted.items())
    return Contract(paths=(replace(path, client=tuple(map(typed, path.client)), server=server),))
