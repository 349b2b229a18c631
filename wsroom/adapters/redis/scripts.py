"""The Lua scripts that Redis runs, as each server knows them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A script as one server knows it."""

    text: str
    sha: str
    """What EVALSHA calls it by."""


class Scripts(NamedTuple):
    """The scripts as one server knows them."""

    publish: Script
    read: Script


def scripts_for(run_id: str) -> Scripts:
    """The scripts for the server with this run_id, which is a part of their text."""
    return Scripts(*(_script(f"local RUN = '{run_id}'\n{_text(name)}") for name in Scripts._fields))


def _script(text: str) -> Script:
    # Redis names scripts by SHA-1; nothing about it is meant to be secure.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def _text(name: str) -> str:
    return (files("wsroom.adapters.redis") / f"{name}.lua").read_text()
