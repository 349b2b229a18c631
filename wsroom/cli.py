"""The command line: `wsroom ...`, and the same as `python -m wsroom ...`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from wsroom.errors import WSRoomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 where it failed, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (WSRoomError, ValueError) as exc:
        print(f"wsroom: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wsroom", description="Real-time apps with rooms.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_emit(commands)
    return parser


def _add_emit(commands: Any) -> None:
    emit = commands.add_parser(
        "emit",
        help="emit a message to a room, through Redis, from a shell or cron",
        description="Emit a message to the members of a room, on whatever worker they are. It gets "
        "its place in the room's order, and in its history, like any other.",
        epilog='example: wsroom emit chat noti \'{"text": "hi"}\' --redis redis://localhost:6379',
    )
    emit.add_argument("room", metavar="ROOM", help="a room, or the id of a socket; '' for the path")
    emit.add_argument("event", metavar="EVENT", help="the event's name")
    emit.add_argument(
        "message", metavar="JSON", nargs="?", default="null", help="the message (default: null)"
    )
    emit.add_argument("--path", default="/ws", help="the concrete path (default: /ws)")
    emit.add_argument("--redis", metavar="URL", help="default: $WSROOM_REDIS_URL")
    emit.add_argument(
        "--prefix",
        default="wsroom",
        metavar="P",
        help="that of the app's adapter (default: wsroom)",
    )
    emit.set_defaults(run=_emit)


def _emit(options: argparse.Namespace) -> None:
    try:
        message = json.loads(options.message)
    except json.JSONDecodeError as exc:
        raise ValueError(
            f"the message {options.message!r} is no JSON ({exc}); a string is '\"hi\"'"
        ) from None
    from wsroom.publisher import Publisher  # takes long to import

    with Publisher(options.redis, prefix=options.prefix) as publisher:
        rooms = (options.room,) if options.room else ()
        publisher.to(*rooms, path=options.path).emit(options.event, message)
