"""`connect`: from a URL to a client of an app."""

from __future__ import annotations

import ssl as tls
from collections.abc import Mapping

from wsroom.client.attempt import Params, Settings
from wsroom.client.socket import ClientSocket


def connect(
    url: str,
    *,
    params: Params | None = None,
    headers: Mapping[str, str] | None = None,
    buffer: int = 100,
    max_retries: int | None = None,
    retry_after: float = 0.5,
    connect_timeout: float = 10.0,
    request_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ssl: tls.SSLContext | None = None,
) -> ClientSocket:
    """Make a socket for `async with`, which connects it, and closes it at the end.

    When its connection is lost it connects again, and then gets what it missed.

    Args:
        url: "ws://host/ws" or "wss://..."; http and https mean the same.
        params: the URL's query, or a function (`async def` too) that is called for each attempt,
            for tokens that expire.
        headers: further headers of the handshake.
        buffer: frames that `emit` and `request` keep while there is no connection.
        max_retries: attempts in a row before it gives up; None: it never does.
        retry_after: seconds; the pause before attempt n is random, up to this times 2 to the n,
            at least 0.1 and at most 20. n begins again at 0 after 5 s of connection.
        connect_timeout: seconds for one attempt.
        request_timeout: seconds for each answer, unless a call gives its own.
        ping_interval: seconds between two pings, and for the answer to each.
        ssl: for wss, instead of the default context.

    Raises:
        ValueError: the URL is invalid, or a number is out of its range.

    """
    return ClientSocket(
        Settings(
            url=url,
            params=params,
            headers=dict(headers or {}),
            buffer=buffer,
            max_retries=max_retries,
            retry_after=retry_after,
            connect_timeout=connect_timeout,
            request_timeout=request_timeout,
            ping_interval=ping_interval,
            ssl=ssl,
        )
    )
