"""The exceptions of wsroom, and those that an app raises. No I/O and no asyncio here.

WSRoomError
├── SetupError (also a ValueError)   the app is set up incorrectly; raised at once
├── AdapterError                     the broker failed or did not answer in time
├── RequestError                     for clients: the server answered with an `error` frame
├── ConnectionLost                   for clients: a connection failed or ended
└── ProtocolError                    a frame of the peer is invalid; answered with `error`

Reject and Disconnect are control flow, so `except WSRoomError` does not catch them.
"""

from __future__ import annotations

from typing import Any


class WSRoomError(Exception):
    """The base class of the errors that wsroom raises."""


class SetupError(WSRoomError, ValueError):
    """The app is set up incorrectly: raised while decorating, including or starting."""


class AdapterError(WSRoomError):
    """The adapter's broker refused, failed or did not answer in time.

    Attributes:
        maybe_sent: True if the broker may still deliver the message (after a timeout or a
            cancelled emit), so that emitting it again could deliver it twice.

    """

    def __init__(self, message: str, *, maybe_sent: bool = False) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class RequestError(WSRoomError):
    """The server answered a client with an `error` frame.

    Attributes:
        code: for programs: an error code of the protocol, or of the app.
        detail: for people: a sentence.
        event: the event of the client's frame; None if no frame caused the error.
        data: for programs: what the app's `Reject` added; None without it.

    """

    def __init__(self, code: str, detail: str, event: str | None = None, data: Any = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.event = event
        self.data = data


class ConnectionLost(WSRoomError):
    """A client's connection ended, or could not be opened.

    Attributes:
        code: the close code; 1006 if there was none, 4000 + the HTTP status if a handshake was
            refused with one.
        reason: for people: the reason that the server gave, or a description of the failure.

    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


class ProtocolError(WSRoomError):
    """A frame of the peer is invalid; `code`, `detail` and `data` go into the `error` frame.

    `id` is that of the frame; None if it had none, or could not be read.
    """

    def __init__(
        self, code: str, detail: str, id: str | int | None = None, data: Any = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.id = id
        self.data = data


class Reject(Exception):
    """Raise it in a guard, a hook or a handler to refuse.

    In `on_connect` the handshake is refused with the HTTP `status`; anywhere else the client gets
    an `error` frame with `code` and `detail`, and the connection stays open.

    Args:
        detail: a sentence for the client.
        status: the HTTP status of a refused handshake, 400 to 599.
        code: for the client's program, 1 to 64 characters.
        data: more for the client's program, in the `error` frame: anything that can be emitted.

    Raises:
        TypeError: the detail or the code is not a string.
        ValueError: the status or the length of the code is out of its range.

    """

    def __init__(
        self, detail: str = "", *, status: int = 403, code: str = "forbidden", data: Any = None
    ) -> None:
        for name, value in (("detail", detail), ("code", code)):
            if not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}; use a string, and data= for other values")
        if not 400 <= status <= 599:
            raise ValueError(f"status {status!r} is not an HTTP error; use 400 to 599")
        if not 1 <= len(code) <= 64:
            raise ValueError(f"code {code!r} has {len(code)} characters; use 1 to 64")
        self.detail = detail
        self.status = status
        self.code = code
        self.data = data
        super().__init__(detail)


class Disconnect(Exception):
    """Raise it in a handler, a guard or a hook to close that connection.

    Args:
        code: the close code that the client gets (RFC 6455, section 7.4).
        reason: a sentence for the client, at most 123 bytes of UTF-8.

    Raises:
        ValueError: the code must not be sent, or the reason is too long.

    """

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        check_close(code, reason)
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# A close frame's payload is at most 125 bytes, two of them the code (RFC 6455, section 5.5).
MAX_REASON = 123
"""Bytes of a close reason."""

# RFC 6455, section 7.4.1 and the IANA registry: these never travel in a close frame.
_UNSENDABLE = frozenset({1004, 1005, 1006})


def check_close(code: int, reason: str) -> None:
    """Raise ValueError if a close code or a reason must not be sent."""
    if code in _UNSENDABLE or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(
            f"close code {code!r} must not be sent; use 1000 to 1014 without 1004 to 1006, "
            "or 3000 to 4999"
        )
    if len(reason.encode()) > MAX_REASON:
        raise ValueError(f"close reason is {len(reason.encode())} bytes; use at most {MAX_REASON}")
