"""Finds the `id` of a client's frame that is not read, so that its sender gets an answer.

No I/O and no asyncio here.
"""

from __future__ import annotations

import re

import orjson

WINDOW = 512
"""Characters at the beginning and at the end of a frame in which its id is looked for."""
MAX_ID = 200
"""Bytes of a string id."""

# Only two places are safe: anywhere else `"id"` may be a key of the message, or text in it.
#
# - The first key of a frame: `{"id": value,` from its first character on. Nothing is open there but
#   the frame's own object, whatever follows.
# - The last key of a frame that is valid JSON: `,"id": value}` up to its last character. That brace
#   closes the frame's own object. The quote before `id` follows a comma or a brace, so it is not
#   escaped; it is not the end of a string either, because a bare `id` would follow. A frame that is
#   not JSON may be cut off inside its message, so it must also close each brace that it opens.
_SPACE = r"[ \t\r\n]*"
_KEY = rf'{_SPACE}"id"{_SPACE}:{_SPACE}(-?[0-9]{{1,20}}|"(?:[^"\\]|\\.)*"){_SPACE}'
_FIRST = re.compile(rf"{_SPACE}\{{{_KEY}[,}}]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LAST = re.compile(rf"[{{,]{_KEY}\}}{_SPACE}\Z")


def find_id(text: str, *, may_be_json: bool) -> str | int | None:
    """Return the id of a frame without reading the frame; None if it has none at a safe place.

    Args:
        text: the whole frame.
        may_be_json: False if it is known that the frame is not valid JSON.

    """
    found = _FIRST.match(text, 0, WINDOW)
    if found is None and (may_be_json or _is_closed(text)):
        found = _LAST.search(text, max(0, len(text) - WINDOW))
    if found is None:
        return None
    try:
        value = orjson.loads(found[1])
    except orjson.JSONDecodeError:
        return None
    if type(value) is str:
        return value if len(value.encode()) <= MAX_ID else None
    return value if type(value) is int else None  # larger than 64 bits it is a float


def _is_closed(text: str) -> bool:
    bare = _STRING.sub("", text)
    return bare.count("{") == bare.count("}")
