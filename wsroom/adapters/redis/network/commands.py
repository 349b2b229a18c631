"""Commands for a server, and the scripts that it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Script(NamedTuple):
    """A Lua script as one server knows it."""

    text: str
    sha: str
    """The name by which EVALSHA calls it."""


Scripts = Mapping[str, Script]
"""Scripts by the names that their callers use."""


Reply = Callable[[Any], None]
"""Takes what the server answered; an exception where it refused, or was lost."""


def settle(future: asyncio.Future[Any], answer: Any) -> None:
    """Set the result of a future, unless it was cancelled."""
    if not future.done():
        future.set_result(answer)
