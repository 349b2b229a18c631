"""What an app declares about its events: frozen values that a document is made of. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of
from wsroom.schema.annotations import Scope, doc_of, message_of
from wsroom.schema.schema import Schema
from wsroom.schema.selection import schema_of


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """An event that clients send: what its handler's signature says."""

    message: Schema | None = None
    """None if it is not checked."""
    reply: Schema | None = None
    """What the handler returns; None if that is not known."""
    raises: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The codes of the handler's own errors, and a sentence about each."""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event that the app emits."""

    message: Schema | None
    """None if every message is allowed."""
    doc: str = ""

    @property
    def annotation(self) -> Any:
        """The type of its messages."""
        return object if self.message is None else self.message.annotation


def client_event(
    function: Callable[..., Any], wants_message: bool, raises: Mapping[str, str] | None
) -> ClientEvent:
    """Read a handler's signature.

    Raises:
        SetupError: an annotation cannot be resolved or checked, or `raises` is invalid.

    """
    name, scope = name_of(function), Scope(function)
    message = reply = None
    if wants_message:
        annotation = scope.resolve(message_of(function), "message")
        message = schema_of(annotation, f"the message of {name}()", "validation")
    returned = scope.resolve(signature_of(function).return_annotation, "the return value")
    reply = schema_of(returned, f"the return value of {name}()", "serialization")
    return ClientEvent(message, reply, _errors(raises or {}), doc_of(function))


def card_schema(function: Callable[..., Any]) -> Schema | None:
    """Return the type of the cards that a function returns, without None; None if it is unknown.

    Raises:
        SetupError: the annotation cannot be resolved, or has no JSON schema.

    """
    scope = Scope(function)
    returned = scope.resolve(signature_of(function).return_annotation, "the return value")
    if get_origin(returned) in (Union, UnionType):
        shown = [each for each in get_args(returned) if each is not type(None)]
        returned = Union[tuple(shown)]  # noqa: UP007 (the types are known at run time only)
    elif returned is type(None):
        return None
    return schema_of(returned, f"the return value of {name_of(function)}()", "serialization")


def server_event(event: str, message: Any, doc: str) -> ServerEvent:
    """Describe an event that the app emits; raises SetupError if its type has no JSON schema."""
    if not isinstance(doc, str):
        raise SetupError(f"doc of {event!r} is {doc!r}; use a string")
    schema = schema_of(message, f"the message of {event!r}", "serialization")
    return ServerEvent(schema, doc)


def _errors(raises: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(raises, Mapping):
        raise SetupError(f'raises is {raises!r}; use {{"code": "a sentence about it"}}')
    for code, sentence in raises.items():
        if not isinstance(code, str) or not 1 <= len(code) <= 64 or not isinstance(sentence, str):
            raise SetupError(
                f"raises has {code!r}: {sentence!r}; use a code of 1 to 64 characters and a "
                "sentence"
            )
    return MappingProxyType(dict(raises))
