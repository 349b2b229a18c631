"""Publishing from the command line: `wsroom emit` and `kick`, and why no worker heard it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.subscribed import subscribed_rooms
from wsroom.errors import AdapterError, WSRoomError
from wsroom.publisher import Publisher
from wsroom.wire.emission import Room
from wsroom.wire.protocol import SOCKET_ID_PREFIX


class NobodyHeard(WSRoomError):
    """No worker has a socket that the message is for."""


def emit(
    url: str | None, prefix: str, room: Room, event: str, message: object, *, volatile: bool
) -> int | None:
    """Emit a message; return how many workers heard it, or None if that is unknown."""
    with Publisher(url, prefix=prefix) as publisher:
        target = publisher.to(*filter(None, (room.name,)), path=room.path)
        return target.emit(event, message, volatile=volatile)


def kick(
    url: str | None, prefix: str, who: Room, rooms: Sequence[str], code: int, reason: str
) -> int | None:
    """Take sockets out of rooms, or close them if there are none; return what `emit` returns."""
    with Publisher(url, prefix=prefix) as publisher:
        target = publisher.to(*filter(None, (who.name,)), path=who.path)
        return target.leave(*rooms) if rooms else target.disconnect(code, reason)


def check_heard(heard: int | None, url: str | None, prefix: str, room: Room) -> None:
    """Raise NobodyHeard, with the likely reason, if no worker heard the message."""
    if heard != 0:
        return
    try:
        subscribed = asyncio.run(
            subscribed_rooms(url or os.environ["WSROOM_REDIS_URL"], RedisNames(prefix))
        )
        reason = explain(room, subscribed, prefix)
    except AdapterError as exc:
        reason = str(exc)
    raise NobodyHeard(f"no worker heard it: {reason} (--allow-nobody accepts that)")


def explain(room: Room, subscribed: Iterable[Room], prefix: str) -> str:
    """Say why none of the rooms that workers are subscribed to is the room of the message."""
    known = set(subscribed)
    if not known:
        return f"no worker with the prefix {prefix!r} is connected to this Redis"
    if room.name.startswith(SOCKET_ID_PREFIX):
        return f"the worker of socket {room.name} has ended"
    paths = sorted(path for path, name in known if path and not name)
    if not paths:
        return "no socket is connected"
    if room.path not in paths:
        if inner := [path for path in paths if room.path.endswith(path)]:
            return (
                f"no socket is on {room.path!r}; the path of a mounted app is without the path of "
                f"the mount: --path {inner[-1]}"
            )
        return f"no socket is on {room.path!r}; there are sockets on {_some(paths)}"
    names = [name for path, name in known if path == room.path and name]
    similar = get_close_matches(room.name, names, 1)
    hint = f"; there is a room {similar[0]!r}" if similar else ""
    return f"no socket is in room {room.name!r} on {room.path!r}{hint}"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(map(repr, paths[:5])) + more
