"""The arguments of the commands that publish through Redis: `wsroom emit` and `wsroom kick`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from wsroom.cli.arguments import add_command
from wsroom.wire.emission import Room

# The rest is imported when a command runs: `wsroom --help` must not wait for redis-py.


def add_emit(commands: Any) -> None:
    """Add `wsroom emit`."""
    emit = add_command(
        commands,
        "emit",
        "emit a message to a room, through Redis, from a shell or cron",
        "Emit a message to the members of a room, on all workers. Like any other message it has\n"
        "its place in the room's order and history. It prints how many workers heard it (those\n"
        "with a member of the room), and fails with the likely reason if none did.",
        'emit chat noti \'{"text": "hi"}\' --redis redis://localhost:6379',
        "emit '' closing_soon 5    # to everybody on the path",
        "emit build progress 40 --volatile    # not for those who reconnect",
    )
    emit.add_argument("room", metavar="ROOM", help="a room, or the id of a socket; '' for the path")
    emit.add_argument("event", metavar="EVENT", help="the event's name")
    emit.add_argument(
        "message", metavar="JSON", nargs="?", default="null", help="the message (default: null)"
    )
    emit.add_argument(
        "--volatile",
        action="store_true",
        help="keep it out of the history; it may be lost",
    )
    _add_target(emit)
    emit.set_defaults(run=_emit)


def _add_target(command: Any) -> None:
    command.add_argument("--path", default="/ws", help="the concrete path (default: /ws)")
    command.add_argument(
        "--allow-nobody", action="store_true", help="succeed even if no worker heard it"
    )
    command.add_argument("--redis", metavar="URL", help="default: $WSROOM_REDIS_URL")
    command.add_argument(
        "--prefix",
        default="wsroom",
        metavar="P",
        help="the prefix of the app's adapter (default: wsroom)",
    )


def _emit(options: argparse.Namespace) -> None:
    try:
        message = json.loads(options.message)
    except json.JSONDecodeError as exc:
        raise ValueError(
            f"the message {options.message!r} is not JSON ({exc}); a string is '\"hi\"'"
        ) from None
    from wsroom.cli.emit import emit

    room, where = Room(options.path, options.room), (options.redis, options.prefix)
    heard = emit(*where, room, options.event, message, volatile=options.volatile)
    _report_heard(options, room, heard)


def add_kick(commands: Any) -> None:
    """Add `wsroom kick`."""
    kick = add_command(
        commands,
        "kick",
        "disconnect sockets, or take them out of rooms, through Redis",
        "Disconnect the members of a room, or one socket, on all workers. If rooms to leave are\n"
        "given, they leave these and stay connected. A guard decides whether they may join again.",
        "kick user:7 --reason banned",
        "kick user:7 board:1 board:2    # leaves two rooms",
        "kick ws:5f0c.9b2e --code 4401",
    )
    kick.add_argument("who", metavar="WHO", help="a room, or the id of a socket; '' for the path")
    kick.add_argument("rooms", metavar="ROOM", nargs="*", help="the rooms to leave")
    kick.add_argument("--code", type=int, default=4403, help="the close code (default: 4403)")
    kick.add_argument("--reason", default="", help="the close reason")
    _add_target(kick)
    kick.set_defaults(run=_kick)


def _kick(options: argparse.Namespace) -> None:
    from wsroom.cli.emit import kick

    who, where = Room(options.path, options.who), (options.redis, options.prefix)
    heard = kick(*where, who, options.rooms, options.code, options.reason)
    _report_heard(options, who, heard)


def _report_heard(options: argparse.Namespace, room: Room, heard: int | None) -> None:
    if not options.allow_nobody:
        from wsroom.cli.emit import check_heard

        check_heard(heard, options.redis, options.prefix, room)
    count = "an unknown number of" if heard is None else heard
    print(f"{count} {'worker' if heard == 1 else 'workers'} heard it")
