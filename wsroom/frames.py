"""One payload, and the forms in which it leaves, made once for all recipients.

No I/O and no asyncio here.
"""

from __future__ import annotations

from functools import cached_property


class PreparedFrame:
    """A server's frame on its way to any number of sockets."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        """The frame's JSON, UTF-8."""

    @cached_property
    def text(self) -> str:
        """The payload as ASGI's `websocket.send` takes it, decoded once."""
        return self.payload.decode()
