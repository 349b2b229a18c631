"""Names and signatures of the user's functions. No I/O and no asyncio here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from wsroom.errors import SetupError


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise SetupError(f"{function!r} is not a function with a known signature") from None


def takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
