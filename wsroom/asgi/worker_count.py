"""How many worker processes serve this app. No I/O and no asyncio here."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

TOO_MANY = (
    "wsroom: this app runs in {count} workers, but each has its own rooms in its memory, so "
    "messages would reach only some members of a room. Set WSROOM_REDIS_URL=redis://host:6379 "
    "(or give WSRoom a shared adapter), or run one worker."
)


def count_workers(
    receive: Any,
    argv: Sequence[str] = sys.argv,
    environ: Mapping[str, str] = os.environ,
    *,
    child: bool | None = None,
) -> int:
    """Return the number of worker processes that serve this app; 1 if it is unknown.

    With uvicorn and hypercorn `receive` is a method of an object that has the configuration, also
    after `uvicorn.run(workers=2)`, where the command line does not show it. In gunicorn's uvicorn
    workers that object leads to gunicorn's settings. For gunicorn's own ASGI worker and granian
    the command line is read.
    """
    config = _config_of(receive)
    if getattr(config, "reload", False):
        return 1  # uvicorn ignores --workers then
    # The setting alone (WEB_CONCURRENCY) starts no workers: uvicorn.Server serves in one process.
    child = multiprocessing.parent_process() is not None if child is None else child
    counts = [getattr(config, "workers", None) if child else None, _gunicorn(config)]
    if config is None or counts[1] is not None:
        counts.append(_command_line(argv, environ))
    return max([count for count in counts if isinstance(count, int)], default=1)


def _config_of(receive: Any) -> Any:
    owner = getattr(receive, "__self__", None)
    # For an HTTP request that is uvicorn's cycle of request and response, which has a method of the
    # connection.
    connection = getattr(getattr(owner, "on_response", None), "__self__", None)
    return getattr(owner, "config", None) or getattr(connection, "config", None)


def _gunicorn(config: Any) -> int | None:
    worker = getattr(getattr(config, "callback_notify", None), "__self__", None)
    count: int | None = getattr(getattr(worker, "cfg", None), "workers", None)
    return count


def _command_line(argv: Sequence[str], environ: Mapping[str, str]) -> int | None:
    # The program, or the package if it was started by `python -m`.
    server = "/".join(argv[0].split(os.sep)[-2:]) if argv else ""
    if "gunicorn" not in server and "granian" not in server:
        return None
    words = [*environ.get("GUNICORN_CMD_ARGS", "").split(), *argv[1:]]
    found = environ.get("WEB_CONCURRENCY") or environ.get("GRANIAN_WORKERS")
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, sign, value = word.partition("=")
        if name in ("-w", "--workers"):
            found = value if sign else following
        elif word.startswith("-w") and word[2:].isdigit():
            found = word[2:]
    return int(found) if found and found.isdigit() else None
