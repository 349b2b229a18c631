"""The types in a function's signature, and its docstring. No I/O and no asyncio here."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, get_type_hints

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, unwrapped


class Scope:
    """Where the names in a function's annotations are looked up.

    Nothing else is evaluated: other annotations may have names for type checkers only.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = name_of(function)
        inner = unwrapped(function)
        self._globals: dict[str, Any] = getattr(inner, "__globals__", {})
        self._locals = _enclosing_locals(inner)

    def resolve(self, annotation: Any, what: str) -> Any:
        """Return the type that an annotation means; Any if there is none.

        Args:
            annotation: of a parameter, or the type that is returned.
            what: "message", for the sentence of the error.

        Raises:
            SetupError: a name in it cannot be resolved.

        """
        if annotation is inspect.Parameter.empty:
            return Any
        holder = SimpleNamespace(__annotations__={"it": annotation})
        try:
            return get_type_hints(holder, self._globals, self._locals, include_extras=True)["it"]
        except Exception as exc:
            raise SetupError(
                f"the annotation {annotation!r} of {what} in {self._name}() cannot be resolved: "
                f"{exc}; import or define its names at the top of the module, and not under "
                '"if TYPE_CHECKING"'
            ) from exc


def _enclosing_locals(function: Any) -> dict[str, Any]:
    # The variables of the running functions in which the function is defined: their classes.
    code = getattr(function, "__code__", None)
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_locals is not frame.f_globals and _contains(frame.f_code, code):
            found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found


def _contains(code: CodeType, inner: CodeType | None) -> bool:
    nested = [const for const in code.co_consts if isinstance(const, CodeType)]
    return any(const is inner or _contains(const, inner) for const in nested)


def message_of(function: Callable[..., Any]) -> Any:
    """Return the annotation of a handler's second argument, unresolved."""
    parameters = list(signature_of(function).parameters.values())
    positional = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    rest = [each for each in parameters if each.kind is each.VAR_POSITIONAL]
    return (positional[1:2] or rest)[0].annotation


def doc_of(function: Callable[..., Any]) -> str:
    """Return a function's docstring, without its indentation; "" without one."""
    return inspect.cleandoc(unwrapped(function).__doc__ or "")
