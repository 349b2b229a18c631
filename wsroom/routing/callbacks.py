"""The user's functions and the arguments that they take. No I/O and no asyncio here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, takes
from wsroom.routing.patterns import Pattern

HOOKS = {
    "on_connect": ("socket",),
    "on_open": ("emitter",),
    "on_joined": ("emitter", "room"),
    "on_left": ("emitter", "room"),
    "on_disconnect": ("socket", "code"),
    "on_error": ("emitter", "exc"),
}
"""The hooks, and the arguments of each."""


class Callback(NamedTuple):
    """A user's function, and whether it runs on the event loop or in a thread."""

    function: Callable[..., Any]
    is_async: bool

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
        inner: Any = function
        while isinstance(inner, partial):
            inner = inner.func
        if not inspect.isroutine(inner):
            inner = getattr(inner, "__call__", inner)  # noqa: B004 (not a test)
        inner = inspect.unwrap(inner)
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

    @classmethod
    def of(cls, event: str, function: Callable[..., Any], concurrent: bool) -> Handler:
        """Make a handler of a user's function; raises SetupError if it takes other arguments."""
        signature = signature_of(function)
        wants_message = takes(signature, 2)
        if not wants_message and not takes(signature, 1):
            raise SetupError(
                f"{name_of(function)}{signature} cannot handle {event!r}; "
                "a handler takes (emitter) or (emitter, message)"
            )
        return cls(Callback.of(function, "emitter"), wants_message, concurrent)


class Guard(NamedTuple):
    """The function that decides who may join the rooms of a pattern."""

    pattern: Pattern
    callback: Callback
    wanted: tuple[str, ...]
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
        wanted = guard_parameters(function, pattern)
        return cls(pattern, Callback.of(function, "socket"), wanted, replay)


class Registration(NamedTuple):
    """A function that was registered, and what it is called for."""

    path: str
    """The path of a page or of WebSockets; a pattern has its parameters in braces."""
    kind: Literal["page", "hook", "guard", "middleware", "event"]
    name: str
    """The hook, the rooms of the guard or the event; "" for a page and for middleware."""
    function: Callable[..., Any]
    concurrent: bool = False
    """Whether an event's handler runs concurrently with others of the same socket."""


def hook_callback(hook: str, function: Callable[..., Any]) -> Callback:
    if hook not in HOOKS:
        raise SetupError(f"no hook {hook!r}; there are {', '.join(HOOKS)}")
    signature = signature_of(function)
    if not takes(signature, len(HOOKS[hook])):
        raise SetupError(
            f"{name_of(function)}{signature} cannot be {hook}; "
            f"it is called with ({', '.join(HOOKS[hook])})"
        )
    return Callback.of(function, HOOKS[hook][0])


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


def guard_parameters(function: Callable[..., Any], pattern: Pattern) -> tuple[str, ...]:
    signature = signature_of(function)
    for name in {"socket", "room"} & set(pattern.names):
        raise SetupError(
            f"parameter {{{name}}} in {pattern.text!r} has the name of an argument of every guard; "
            "use another name, or '*' for every room"
        )
    rest = list(signature.parameters.values())[2:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in rest):
        wanted = pattern.names
    else:
        wanted = tuple(name for name in pattern.names if name in signature.parameters)
    try:
        signature.bind(None, None, **dict.fromkeys(wanted))
    except TypeError:
        asks = ", ".join(("socket", "room", *pattern.names))
        raise SetupError(
            f"{name_of(function)}{signature} cannot guard {pattern.text!r}; it may take ({asks})"
        ) from None
    return wanted
