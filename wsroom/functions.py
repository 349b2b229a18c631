"""Names and signatures of the user's functions. No I/O and no asyncio here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from wsroom.errors import SetupError


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise SetupError(f"{function!r} is not a function with a known signature") from None


def unwrapped(function: Any) -> Any:
    """Return the function in partials, bound methods, callable objects and `functools.wraps`."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isroutine(function) and hasattr(function, "__call__"):  # noqa: B004
            function = function.__call__
        else:
            return function


def takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
