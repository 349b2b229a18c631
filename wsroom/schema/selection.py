"""From a type to its schema: the type decides which library checks it. No I/O here.

Nothing is imported that the type does not need.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any, Never, NoReturn

from wsroom.errors import SetupError
from wsroom.schema.libraries import MSGSPEC, PYDANTIC, libraries_in
from wsroom.schema.plain import NotPlain, PlainSchema
from wsroom.schema.recursion import exponential_union
from wsroom.schema.schema import Mode, Schema, describe


def schema_of(annotation: Any, owner: str, mode: Mode) -> Schema | None:
    """Return the schema of a type; None if every value fits.

    Args:
        annotation: the type.
        owner: what has it, for the sentences of errors: "the message of say()".
        mode: how the schema will be used.

    Raises:
        SetupError: no library can check it, or none is installed.

    """
    if any(annotation is each for each in (Any, object, Never, NoReturn)):
        return None
    found = libraries_in(annotation)
    if len(found) > 1:
        raise SetupError(
            f"{owner} has types of pydantic and of msgspec in it: {describe(annotation)}; "
            "use those of one library"
        )
    if not found:
        try:
            return PlainSchema(annotation)
        except NotPlain:
            pass
    schema, json_schema = _library_schema(annotation, owner, mode, found or _installed())
    if mode == "validation" and (members := exponential_union(json_schema)):
        raise SetupError(
            f"{owner} has a union, {members}, that several of its members lead back to: the time "
            "to check a message would double with each level; give the union a discriminator"
        )
    return schema


def _installed() -> list[str]:
    return [name for name in (PYDANTIC, MSGSPEC) if importlib.util.find_spec(name)]


def _library_schema(
    annotation: Any, owner: str, mode: Mode, libraries: Iterable[str]
) -> tuple[Schema, dict[str, object]]:
    failure: Exception | None = None
    for library in libraries:
        # Types that cannot be checked raise here, not at the first frame.
        try:
            schema = _make(annotation, library)
            return schema, schema.json_schema(mode)
        except Exception as exc:
            failure = failure or exc
    if failure is None:
        raise SetupError(
            f"{owner} is {describe(annotation)}, which needs pydantic or msgspec; "
            "install wsroom[pydantic] or wsroom[msgspec], or use builtin types, or object"
        )
    reason = str(failure).strip().partition("\n")[0]
    raise SetupError(
        f"{owner} cannot be checked, because there is no JSON schema of "
        f"{describe(annotation)}: {type(failure).__name__}: {reason}"
    ) from failure


def _make(annotation: Any, library: str) -> Schema:
    if library == PYDANTIC:
        from wsroom.schema.pydantic_schema import PydanticSchema

        return PydanticSchema(annotation)
    from wsroom.schema.msgspec_schema import MsgspecSchema

    return MsgspecSchema(annotation)
