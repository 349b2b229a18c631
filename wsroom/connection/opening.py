"""Whether a socket is accepted, and the first frame that it gets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from wsroom.connection.connection import Connection
from wsroom.connection.supervisor import Interrupted, raised_by_app
from wsroom.errors import AdapterError, Disconnect, Reject
from wsroom.routing.callbacks import Callback
from wsroom.wire import protocol
from wsroom.wire.offsets import Offset

logger = logging.getLogger("wsroom")


async def ask_app(connection: Connection) -> Reject | None:
    """Call the functions of `on_connect`; return the refusal, None if the socket may connect.

    Raises:
        AdapterError: one of them needed the broker.

    """
    hooks = connection.route.hooks.get("on_connect")
    if hooks is None:
        return None
    try:
        await connection.supervisor.run(_call_in_turn(connection, hooks))
    except AdapterError:
        raise
    except Reject as exc:
        return exc
    except Disconnect:
        return Reject()
    except Interrupted as exc:
        if exc.timed_out:
            logger.error(
                "on_connect on %s was cancelled: %s",
                connection.path,
                exc,
                extra=connection.log_extra(),
            )
        return Reject(status=500)
    except BaseException as exc:
        if not raised_by_app(exc):
            raise
        logger.error(
            "on_connect on %s raised",
            connection.path,
            exc_info=exc,
            extra=connection.log_extra(),
        )
        return Reject(status=500)
    return None if connection.closed_with is None else Reject()


async def _call_in_turn(connection: Connection, hooks: Iterable[Callback]) -> None:
    for hook in hooks:
        values = {name: connection.path_params[name] for name in hook.wanted}
        user = await connection.worker.call(hook, connection.socket, **values)
        if user is False:
            raise Reject()
        if connection.closed_with is not None:
            return
        if user is not None:
            connection.user = user


def connected_frame(connection: Connection, offset: Offset | None) -> bytes:
    """Encode the first frame of a connection whose path is at `offset`."""
    message: dict[str, Any] = {
        "id": connection.id,
        "session": connection.session.secret,
        "limits": {"frame": connection.worker.limits.frame_size},
    }
    if offset is not None:
        joined = connection.session.take_offsets(connection.rooms)
        message["rooms"] = {"": str(offset), **joined}
    return protocol.encode(protocol.CONNECTED, message, connection.id)
