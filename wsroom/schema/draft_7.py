"""JSON Schema of the draft 2020-12 as AsyncAPI's schemas. No I/O and no asyncio here.

These are a superset of the draft 7, with OpenAPI's old form of a discriminator.
"""

from __future__ import annotations

import re
from typing import Any

from wsroom.schema.contract import JsonSchema
from wsroom.schema.subschemas import map_parts


def to_draft_7(schema: JsonSchema) -> JsonSchema:
    """Rewrite what is newer than draft 7; keywords without a counterpart are left out."""
    if isinstance(schema, bool):
        return schema
    new = map_parts(schema, to_draft_7)
    for key in ("$schema", "$id", "$anchor", "unevaluatedItems", "unevaluatedProperties"):
        new.pop(key, None)
    if new.get("enum") == []:
        return {"not": {}}  # draft 7 asks for at least one value
    if "type" in new and (kinds := _known(new.pop("type"))):
        new = {"type": kinds, **new}
    for name in [each for each in ("$ref", "__proto__") if each in new.get("properties", ())]:
        # Parsers in JavaScript take these properties for something else.
        own = new["properties"].pop(name)
        new["patternProperties"] = {**new.get("patternProperties", {}), f"^{re.escape(name)}$": own}
    if "prefixItems" in new:
        rest = new.pop("items", None)
        new["items"] = new.pop("prefixItems")
        if rest is not None:
            new["additionalItems"] = rest
    if dependencies := {**new.pop("dependentRequired", {}), **new.pop("dependentSchemas", {})}:
        new["dependencies"] = dependencies
    if isinstance(new.get("discriminator"), dict):
        new["discriminator"] = new["discriminator"]["propertyName"]
    if "$ref" in new and len(new) > 1:  # draft 7 ignores what stands beside a reference
        new["allOf"] = [{"$ref": new.pop("$ref")}, *new.get("allOf", ())]
    return new


KINDS = ("array", "boolean", "integer", "null", "number", "object", "string")


def _known(kinds: Any) -> Any:
    if isinstance(kinds, list):
        return [kind for kind in kinds if kind in KINDS]
    return kinds if kinds in KINDS else []
