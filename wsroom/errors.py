"""What wsroom raises, and what a user raises to steer it. No I/O and no asyncio here.

WSRoomError
├── SetupError (also a ValueError)   the app is put together wrongly; raised at once
├── AdapterError                     the broker did not do what it was asked
├── RequestError                     for clients: the server answered with an `error` frame
├── ConnectionLost                   for clients: there is no connection, or none any more
└── ProtocolError                    the peer's fault; answered with an `error` frame

Reject and Disconnect stand apart: they are control flow, so `except WSRoomError` never eats them.
"""

from __future__ import annotations


class WSRoomError(Exception):
    """The base of the errors that wsroom itself raises."""


class SetupError(WSRoomError, ValueError):
    """The app is put together wrongly: raised while decorating, including or starting."""


class AdapterError(WSRoomError):
    """The adapter's broker refused, failed or did not answer in time.

    Attributes:
        maybe_sent: True where the broker may still carry the emission out later (after a timeout
            or a cancelled emit), so that repeating it blindly could double it.

    """

    def __init__(self, message: str, *, maybe_sent: bool = False) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class RequestError(WSRoomError):
    """The server answered a client with an `error` frame.

    Attributes:
        code: for programs: one of the protocol's error codes, or a code of the app's own.
        detail: a sentence for people.
        event: the event of the client's frame; None where no frame led to this.

    """

    def __init__(self, code: str, detail: str, event: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.event = event


class ConnectionLost(WSRoomError):
    """A client's connection ended, or could not be made.

    Attributes:
        code: the close code; 1006 where there was none, 4000 + the HTTP status where a handshake
            was refused with one.
        reason: what the server said, or what went wrong; a sentence for people.

    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


class ProtocolError(WSRoomError):
    """A frame from the peer broke the rules; `code` and `detail` go into the `error` answer.

    `id` is the frame's own, where it could be read.
    """

    def __init__(self, code: str, detail: str, id: str | int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.id = id


class Reject(Exception):
    """Raise it in a guard, a hook or a handler to say no.

    In `on_connect` the handshake is refused with the HTTP `status`; anywhere else the client gets
    an `error` frame with `code` and `detail`, and the connection stays.

    Args:
        detail: a sentence for the client, or an exception whose text is one.
        status: the HTTP status of a refused handshake, 400 to 599.
        code: what a program on the other side compares, 1 to 64 characters.

    Raises:
        ValueError: the status or the code is out of its range.

    """

    def __init__(self, detail: object = "", *, status: int = 403, code: str = "forbidden") -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"status {status!r} refuses nothing; use 400 to 599")
        if not 1 <= len(code) <= 64:
            raise ValueError(f"code {code!r} has {len(code)} characters; use 1 to 64")
        self.detail = str(detail)
        self.status = status
        self.code = code
        super().__init__(self.detail)


class Disconnect(Exception):
    """Raise it anywhere in the app's code to end the connection that the code runs for.

    Args:
        code: the close code that the client gets (RFC 6455, section 7.4).
        reason: a sentence for the client, 123 bytes of UTF-8 at most.

    Raises:
        ValueError: the code may not be sent, or the reason is too long.

    """

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        check_close(code, reason)
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


# RFC 6455, section 7.4.1 and the IANA registry: these never travel in a close frame.
_UNSENDABLE = frozenset({1004, 1005, 1006})


def check_close(code: int, reason: str) -> None:
    """Raise ValueError for a close code or a reason that may not be sent."""
    if code in _UNSENDABLE or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(
            f"close code {code!r} may not be sent; use 1000 to 1014 without 1004 to 1006, "
            "or 3000 to 4999"
        )
    # A close frame's payload is 125 bytes at most, two of them the code (RFC 6455, section 5.5).
    if len(reason.encode()) > 123:
        raise ValueError(f"close reason is {len(reason.encode())} bytes; use 123 at most")
