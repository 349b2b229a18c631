"""The user's functions and the arguments that they take. No I/O and no asyncio here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, NamedTuple

from wsroom.errors import ProtocolError, SetupError
from wsroom.functions import name_of, signature_of, takes, unwrapped
from wsroom.rates import EventRate
from wsroom.routing.patterns import Pattern
from wsroom.schema.annotations import Scope
from wsroom.schema.declared import ClientEvent, client_event
from wsroom.schema.parameters import Parameter, parameter_of

HOOKS = {
    "on_connect": ("socket",),
    "on_open": ("emitter",),
    "on_joined": ("emitter", "room"),
    "on_left": ("emitter", "room"),
    "on_disconnect": ("socket", "code"),
    "on_error": ("emitter", "exc"),
}
"""The hooks, and the arguments of each."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Callback(NamedTuple):
    """A user's function, and whether it runs on the event loop or in a thread."""

    function: Callable[..., Any]
    is_async: bool
    wanted: tuple[str, ...] = ()
    """For `on_connect`: the parameters of the path that it takes."""

    @classmethod
    def of(cls, function: Callable[..., Any], first: str = "") -> Callback:
        """Recognize `async def` in partials, decorated functions and objects with `__call__`.

        Args:
            function: the user's function.
            first: its first argument, "emitter" or "socket"; "" if it has none.

        Raises:
            SetupError: the function is a generator, whose body a call does not run, or its first
                argument is annotated with another type than it gets.

        """
        inner = unwrapped(function)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise SetupError(f"{name_of(function)} is a generator; return or emit instead of yield")
        is_async = inspect.iscoroutinefunction(inner)
        if first:
            _check_annotation(function, first, is_async)
        return cls(function, is_async)


class Handler(NamedTuple):
    """The function that handles an event."""

    callback: Callback
    wants_message: bool
    concurrent: bool
    declared: ClientEvent
    rate: EventRate | None = None

    @classmethod
    def of(
        cls,
        event: str,
        function: Callable[..., Any],
        concurrent: bool,
        raises: Mapping[str, str] | None = None,
        rate: EventRate | None = None,
    ) -> Handler:
        """Make a handler of a user's function.

        Raises:
            SetupError: it takes other arguments, its annotations are invalid, or `raises` is.

        """
        signature = signature_of(function)
        wants_message = takes(signature, 2)
        if not wants_message and not takes(signature, 1):
            raise SetupError(
                f"{name_of(function)}{signature} cannot handle {event!r}; "
                "a handler takes (emitter) or (emitter, message)"
            )
        callback = Callback.of(function, "emitter")
        return cls(
            callback, wants_message, concurrent, client_event(function, wants_message, raises), rate
        )

    @property
    def plain(self) -> bool:
        """Whether all that its frames need is a call on the event loop, after their check."""
        return self.callback.is_async and not self.concurrent and self.rate is None

    @property
    def checked_function(self) -> Callable[..., Any]:
        """The function, after a check of the message if it has a schema."""
        function, schema = self.callback.function, self.declared.message
        if schema is None:
            return function
        validate = schema.validate
        return lambda emitter, message: function(emitter, validate(message))


def event_rate(rate: str | None, key: Callable[..., Hashable] | None) -> EventRate | None:
    """Return the rate of a handler; None without one.

    Raises:
        SetupError: the text is invalid, or the key is without a rate or cannot be called.

    """
    if rate is None:
        if key is not None:
            raise SetupError('rate_key is the key of a rate; give rate="10/s" too')
        return None
    if key is not None:
        if not callable(key) or not takes(signature_of(key), 1):
            raise SetupError(f"rate_key is {key!r}; use a function that takes (socket)")
        if Callback.of(key).is_async:
            raise SetupError(f"rate_key {name_of(key)} must return at once; write it with def")
    return EventRate(rate, key)


class Guard(NamedTuple):
    """The function that decides who may join the rooms of a pattern."""

    pattern: Pattern
    callback: Callback
    parameters: Mapping[str, Parameter]
    """The parameters of the pattern that it takes."""
    replay: int | None = None
    """How many earlier messages a client may get at a join; None for `Limits.replay`."""

    @classmethod
    def of(cls, function: Callable[..., Any], pattern: Pattern, replay: int | None) -> Guard:
        """Check the function's arguments and the number.

        Raises:
            SetupError: the function cannot be called with them, or the number is invalid.

        """
        if replay is not None and (type(replay) is not int or replay < 0):
            raise SetupError(f"replay is {replay!r}; use a number of messages, or 0 for none")
        for name in {"socket", "room"} & set(pattern.names):
            raise SetupError(
                f"parameter {{{name}}} in {pattern.text!r} has the name of an argument of every "
                "guard; use another name, or '*' for every room"
            )
        role = f"guard {pattern.text!r}"
        parameters = parameters_of(function, pattern, ("socket", "room"), role)
        return cls(pattern, Callback.of(function, "socket"), parameters, replay)

    def read(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return what the function gets for the values of the pattern.

        Raises:
            ProtocolError: `bad_room`: a value is not of the annotated type.

        """
        return read_room_values(self.parameters, values)


def read_room_values(
    parameters: Mapping[str, Parameter], values: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values in a room's name, by their types; raises ProtocolError (`bad_room`)."""
    read: dict[str, Any] = {}
    for name, parameter in parameters.items():
        try:
            read[name] = parameter.read(values[name])
        except ValueError:
            detail = f"{name!r} in the room's name must be {parameter.expected}"
            raise ProtocolError("bad_room", detail) from None
    return read


class Registration(NamedTuple):
    """A function that was registered, and what it is called for."""

    path: str
    """The path of a page or of WebSockets; a pattern has its parameters in braces."""
    kind: Literal["page", "hook", "guard", "presence", "middleware", "event"]
    name: str
    """The hook, the rooms, or the event; "" for a page and for middleware."""
    function: Callable[..., Any]
    concurrent: bool = False
    """Whether an event's handler runs concurrently with others of the same socket."""


def check_hook(hook: str) -> None:
    """Raise SetupError if there is no such hook."""
    if hook not in HOOKS:
        raise SetupError(f"no hook {hook!r}; there are {', '.join(HOOKS)}")


def hook_callback(hook: str, function: Callable[..., Any]) -> Callback:
    signature = signature_of(function)
    if not takes(signature, len(HOOKS[hook])):
        raise SetupError(
            f"{name_of(function)}{signature} cannot be {hook}; "
            f"it is called with ({', '.join(HOOKS[hook])})"
        )
    return Callback.of(function, HOOKS[hook][0])


def connect_callback(
    function: Callable[..., Any], pattern: Pattern
) -> tuple[Callback, dict[str, Parameter]]:
    """Return the callback of an `on_connect`, and the parameters of the path that it takes."""
    role = f"be on_connect of {pattern.text!r}"
    parameters = parameters_of(function, pattern, HOOKS["on_connect"], role)
    return Callback.of(function, "socket")._replace(wanted=tuple(parameters)), parameters


def middleware_callback(function: Callable[..., Any]) -> Callback:
    signature = signature_of(function)
    if not takes(signature, 3):
        raise SetupError(
            f"{name_of(function)}{signature} cannot be middleware; "
            "it is called with (emitter, message, call)"
        )
    callback = Callback.of(function, "emitter")
    if not callback.is_async:
        raise SetupError(
            f"{name_of(function)} cannot be middleware, because it must await call(message); "
            "write it with async def"
        )
    return callback


def _check_annotation(function: Callable[..., Any], first: str, is_async: bool) -> None:
    # What type checkers cannot see (a coroutine is an object, too), and for those who use none.
    parameter = next(iter(signature_of(function).parameters.values()), None)
    annotation = parameter.annotation if parameter else None
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if not (named := re.fullmatch(r"(?:\w+\.)*((Blocking)?(Emitter|Socket))(\[.*\])?", text)):
        return
    name, blocking, kind, _ = named.groups()
    right = first.capitalize()
    if kind != right or (blocking and is_async):
        prefix = "" if is_async else "Blocking"
        raise SetupError(
            f"{name_of(function)} gets {prefix}{right} as its first argument, not {name}; "
            f"change the annotation" + (", or write it with def" if blocking else "")
        )


def parameters_of(
    function: Callable[..., Any], pattern: Pattern, first: tuple[str, ...], role: str
) -> dict[str, Parameter]:
    """Return the parameters of a pattern that a function takes, with their types.

    Those that it takes by `**` have no type, so they are strings.

    Args:
        function: the user's function.
        pattern: of the path or the room.
        first: what the function gets before them.
        role: "guard 'order:{id}'", for the sentence of the error.

    Raises:
        SetupError: it takes other arguments, or one of another type.

    """
    signature, scope = signature_of(function), Scope(function)
    parameters = list(signature.parameters.values())
    positional = [each for each in parameters if each.kind in _POSITIONAL][: len(first)]
    named = {each.name: each for each in parameters if each not in positional}
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    wanted = [name for name in pattern.names if name in named or takes_all]
    try:
        signature.bind(*first, **dict.fromkeys(wanted))
    except TypeError:
        raise SetupError(
            f"{name_of(function)}{signature} cannot {role}; "
            f"it may take ({', '.join((*first, *pattern.names))})"
        ) from None
    annotations = {name: named[name].annotation if name in named else Any for name in wanted}
    return {
        name: parameter_of(scope.resolve(each, name), f"{name!r} of {name_of(function)}()")
        for name, each in annotations.items()
    }
