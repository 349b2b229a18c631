"""The arguments of the command line, `wsroom ...` or `python -m wsroom ...`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsroom import __version__
from wsroom.cli.arguments import add_command as _add
from wsroom.cli.arguments import port, seconds
from wsroom.cli.publishing import add_emit, add_kick
from wsroom.errors import WSRoomError

# Each command imports its modules when it runs: `wsroom --help` must not wait for redis-py.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, 1 if it failed, 2 for wrong arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, flags = given, []
    if given[:1] == ["doctor"] and "--" in given:
        # argparse removes the "--", but differently in different versions of Python.
        own, flags = given[: given.index("--")], given[given.index("--") + 1 :]
    options = _parser().parse_args(own)
    options.flags = flags
    try:
        code: int | None = options.run(options)
        sys.stdout.flush()
    except (WSRoomError, ValueError) as exc:
        print(f"wsroom: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsroom",
        description="Real-time apps with rooms. Begin with: wsroom new my-chat",
        epilog="`wsroom COMMAND --help` shows details and examples.",
    )
    parser.add_argument("--version", action="version", version=f"wsroom {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_new, _add_dev, _add_controller, _add_routes, _add_types, _add_asyncapi):
        add(commands)
    for add in (_add_doctor, add_emit, add_kick, _add_top):
        add(commands)
    return parser


def _add_new(commands: Any) -> None:
    new = _add(
        commands,
        "new",
        "create a project: an app, its page, a test",
        "Write a small chat into a new folder: app.py, page.html, test_app.py, README.md.\n"
        "It runs without changes, and its test passes.",
        "new my-chat && cd my-chat && wsroom dev",
    )
    new.add_argument("name", metavar="NAME", help="the name of the folder, which must not exist")
    new.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> None:
    from wsroom.cli.scaffold import PROJECT, create_project

    project = create_project(options.name, Path())
    print(f"wrote {', '.join(str(project / name) for name in PROJECT)}")
    print(f"now: cd {project} && wsroom dev")


def _add_dev(commands: Any) -> None:
    dev = _add(
        commands,
        "dev",
        "serve an app during development",
        "Serve an app with uvicorn, reload it when a file of its folder changes, and print its\n"
        "URL. The app is the variable `app` of the file, or else the one to which a WSRoom() is\n"
        "assigned. In production: uvicorn app:app",
        "dev",
        "dev chat/app.py --port 9000",
        "dev --host 0.0.0.0        # also for other machines, such as a phone",
    )
    dev.add_argument("file", metavar="FILE", nargs="?", default="app.py", help="default: app.py")
    dev.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    dev.add_argument("--port", type=port, default=8000, help="default: 8000; 0 for any free one")
    dev.set_defaults(run=_dev)


def _dev(options: argparse.Namespace) -> None:
    from wsroom.cli.dev import serve

    serve(Path(options.file), options.host, options.port)


def _add_controller(commands: Any) -> None:
    controller = _add(
        commands,
        "create:controller",
        "write a class whose methods handle events",
        "Write a module with a controller: a class whose methods handle the events of a path.\n"
        "Two lines in the app register it; they are printed, and are in the file.\n"
        "An existing file is never overwritten.",
        "create:controller ChatRoomController         # chat_room_controller.py",
        "create:controller chat_room -ws --path /chat",
    )
    controller.add_argument(
        "name", metavar="NAME", help="for example ChatRoomController or chat_room"
    )
    controller.add_argument("--path", default="/ws", help="the path of its events (default: /ws)")
    controller.add_argument("-ws", action="store_true", help="accepted as in Dox; without effect")
    controller.set_defaults(run=_create_controller)


def _create_controller(options: argparse.Namespace) -> None:
    from wsroom.cli.scaffold import create_controller

    file, controller = create_controller(options.name, options.path, Path())
    print(f"wrote {file}; register it in your app:", *controller.lines, sep="\n    ")


def _add_routes(commands: Any) -> None:
    routes = _add(
        commands,
        "routes",
        "list the paths and events of an app",
        "List the paths of an app with their pages, hooks, guards, middleware and events, and the\n"
        "functions behind them. An app that is mounted in a FastAPI or Starlette app is found,\n"
        "too.",
        "routes app:app",
        "routes shop.realtime:app",
    )
    routes.add_argument("app", metavar="MODULE:APP", help="as for uvicorn")
    routes.set_defaults(run=_routes)


def _routes(options: argparse.Namespace) -> None:
    from wsroom.cli.apps import load_parts, rows, table

    print(table([row for part in load_parts(options.app) for row in rows(part)]))


def _add_types(commands: Any) -> None:
    types = _add(
        commands,
        "types",
        "write the types of an app's events, for TypeScript or Python",
        "Write the types of the events of an app, for wsroom.js (TypeScript) or for wsroom.client\n"
        "(Python): to the standard output, or into a file.",
        "types app:app > events.d.ts",
        "types app:app --output src/events.d.ts --watch",
        "types app:app --check src/events.d.ts     # in CI",
        "types app:app --python --output events.py",
    )
    types.add_argument("app", metavar="MODULE:APP", help="as for uvicorn")
    types.add_argument("--python", action="store_true", help="TypedDicts and Protocols")
    types.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into this file")
    types.add_argument(
        "--watch",
        action="store_true",
        help="write the file again when Python files of this folder change",
    )
    types.add_argument(
        "--check",
        metavar="FILE",
        type=Path,
        help="write nothing; with another text in this file the exit code is 1",
    )
    types.set_defaults(run=_types)


def _types(options: argparse.Namespace) -> None:
    from wsroom.cli import documents

    if options.watch:
        if options.output is None:
            raise ValueError("--watch needs a file: --output events.d.ts")
        documents.watch(options.app, options.output, for_python=options.python)
        return
    text = documents.types(options.app, for_python=options.python)
    if options.check is not None:
        documents.check(options.check, text)
    elif options.output is None:
        print(text, end="")
    elif documents.write(options.output, text):
        print(f"wrote {options.output}", flush=True)


def _add_asyncapi(commands: Any) -> None:
    asyncapi = _add(
        commands,
        "asyncapi",
        "describe an app as an AsyncAPI document",
        "Describe the paths, events and rooms of an app as an AsyncAPI 3.1.0 document, which\n"
        "generators of documentation and of clients read.",
        "asyncapi app:app > asyncapi.json",
        "asyncapi app:app --yaml --no-builtins",
    )
    asyncapi.add_argument("app", metavar="MODULE:APP", help="as for uvicorn")
    asyncapi.add_argument("--yaml", action="store_true", help="YAML instead of JSON")
    asyncapi.add_argument(
        "--no-builtins",
        action="store_true",
        help="leave out the events of the protocol itself, such as joinRoom",
    )
    asyncapi.set_defaults(run=_asyncapi)


def _asyncapi(options: argparse.Namespace) -> None:
    from wsroom.cli.documents import asyncapi

    print(asyncapi(options.app, as_yaml=options.yaml, builtins=not options.no_builtins))


def _add_doctor(commands: Any) -> None:
    doctor = _add(
        commands,
        "doctor",
        "check an app for production",
        "Check an app as uvicorn would serve it: the WebSocket library, Redis and its version,\n"
        "paths that nobody authenticates, the number of workers, and risky flags of uvicorn. The\n"
        "flags follow after --; UVICORN_* variables and WEB_CONCURRENCY count, too. With a\n"
        "problem the exit code is 1.",
        "doctor app:app",
        "doctor app:app -- --workers 4 --ws wsproto",
    )
    doctor.add_argument("app", metavar="MODULE:APP", help="as for uvicorn")
    doctor.usage = "wsroom doctor [-h] MODULE:APP [-- UVICORN-FLAGS ...]"
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from wsroom.cli.doctor import examine, report
    from wsroom.cli.rules import PROBLEM

    findings = examine(options.app, options.flags)
    print(report(findings))
    return int(any(finding.level == PROBLEM for finding in findings))


def _add_top(commands: Any) -> None:
    top = _add(
        commands,
        "top",
        "show what a running app does: sockets, events, errors",
        "Show the numbers of a running app, all of its workers together, again every few seconds,\n"
        "until Ctrl-C. The app serves them if it is a WSRoom(metrics=True).",
        "top",
        "top https://example.com/metrics --interval 10",
        "top --once > numbers.txt",
    )
    top.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        default="http://127.0.0.1:8000",
        help="default: %(default)s",
    )
    top.add_argument(
        "--interval", type=seconds, default=2.0, metavar="S", help="seconds (default: 2)"
    )
    top.add_argument("--once", action="store_true", help="print the numbers of one interval")
    top.set_defaults(run=_top)


def _top(options: argparse.Namespace) -> None:
    from wsroom.cli.top import top

    top(options.url, options.interval, once=options.once)
