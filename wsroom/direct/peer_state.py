"""Whether a peer is gone although nothing is read from it."""

from __future__ import annotations

import os
import socket
from typing import Any

# States of TCP in Linux (include/net/tcp_states.h).
_CLOSE, _CLOSE_WAIT = 7, 8


def is_gone(transport: Any) -> bool:
    """Return whether the peer has reset or ended the connection, as far as the system tells.

    The end is known only once all that the peer sent before has arrived: not while the system's
    own buffer is full.
    """
    known = transport.get_extra_info("socket")
    if known is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        # uvloop's object has no getsockopt, so another one for the same connection is asked.
        with socket.socket(fileno=os.dup(known.fileno())) as same:
            (state,) = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:  # not TCP
        return False
    return state in (_CLOSE, _CLOSE_WAIT)
