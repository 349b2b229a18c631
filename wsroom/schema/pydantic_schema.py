"""Checks messages with pydantic. It is imported for a type that needs it. No I/O here."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from wsroom.schema.problems import (
    MAX_PROBLEMS,
    TOO_MANY,
    InvalidMessage,
    Problem,
    existing_steps,
    too_many,
)
from wsroom.schema.schema import Mode


class PydanticSchema:
    """The schema of a type that pydantic checks."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        # By JSON, not by values: strict models take a date from JSON only.
        self._validate_json = self._adapter.validator.validate_json

    def validate(self, message: object) -> object:
        """Return what the handler gets; raises InvalidMessage."""
        try:
            return self._validate_json(orjson.dumps(message))
        except ValidationError as exc:
            invalid = _invalid_message(exc, message)
        raise invalid

    def json_schema(self, mode: Mode) -> dict[str, object]:
        """Return pydantic's JSON schema; for serialization, fields with defaults are required."""
        return self._adapter.json_schema(mode=mode, schema_generator=_JsonSchema)


class _JsonSchema(GenerateJsonSchema):
    # A default that JSON has no form for is left out, and nothing is wrong with that.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def field_is_required(self, field: Any, total: bool) -> bool:
        model = field["type"] != "typed-dict-field"  # its keys have no defaults
        if self.mode == "serialization" and model and field["schema"]["type"] == "default":
            return field.get("serialization_exclude_if") is None
        return super().field_is_required(field, total)


def _invalid_message(exc: ValidationError, message: object) -> InvalidMessage:
    count = exc.error_count()
    if count > TOO_MANY:
        return too_many(count)
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    problems = [
        Problem(
            existing_steps(error["loc"], message, missing=error["type"] == "missing"),
            error["msg"],
            error["type"],
        )
        for error in errors[:MAX_PROBLEMS]
    ]
    return InvalidMessage(problems, count)
