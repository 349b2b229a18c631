"""Which library a type is of. No I/O here, and no import of these libraries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

PYDANTIC = "pydantic"
MSGSPEC = "msgspec"

_MODULES = {"pydantic": PYDANTIC, "annotated_types": PYDANTIC, "msgspec": MSGSPEC}


def libraries_in(annotation: Any) -> set[str]:
    """Return the libraries whose types are anywhere in a type."""
    return {library for kind in types_in(annotation) if (library := _library_of(kind))}


def types_in(annotation: Any) -> Iterator[Any]:
    """Yield a type and all that are in it: arguments, metadata, and the fields of classes."""
    seen: dict[int, Any] = {}  # types may not be hashable, and an id is free once its type is
    waiting = [annotation]
    while waiting:
        kind = waiting.pop()
        if id(kind) in seen:
            continue
        seen[id(kind)] = kind
        yield kind
        waiting += _parts(kind)


def _parts(kind: Any) -> list[Any]:
    parts = [*get_args(kind), *getattr(kind, "__metadata__", ())]
    for name in ("__origin__", "__supertype__", "__value__"):  # generics, NewType, aliases
        if hasattr(kind, name):
            parts.append(getattr(kind, name))
    if isinstance(kind, type) and _has_fields(kind):
        parts += _fields(kind)
    return parts


def _has_fields(kind: type) -> bool:
    names = ("__dataclass_fields__", "__total__", "_fields", "__struct_config__")
    return any(hasattr(kind, name) for name in (*names, "__pydantic_fields__", "__attrs_attrs__"))


def _fields(kind: Any) -> list[Any]:
    if hasattr(kind, "__pydantic_fields__"):
        return [field.annotation for field in kind.__pydantic_fields__.values()]
    try:
        return list(get_type_hints(kind, include_extras=True).values())
    except Exception:
        return []  # names that cannot be resolved: the library that gets the class says which


def _library_of(kind: Any) -> str | None:
    if hasattr(kind, "__struct_config__") or hasattr(kind, "__attrs_attrs__"):
        return MSGSPEC
    if hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__"):
        return PYDANTIC
    owner = kind if isinstance(kind, type) else type(kind)
    return _MODULES.get(owner.__module__.partition(".")[0])
