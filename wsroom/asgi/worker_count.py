"""What the ASGI server tells about itself. No I/O and no asyncio here."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

TOO_MANY = (
    "wsroom: this app runs in {count} workers, but its rooms are in the memory of each one, so "
    "messages would reach only some of their members. Set WSROOM_REDIS_URL=redis://host:6379 "
    "(or give WSRoom an adapter that is shared), or run one worker."
)


def count_workers(
    receive: Any,
    argv: Sequence[str] = sys.argv,
    environ: Mapping[str, str] = os.environ,
    *,
    child: bool | None = None,
) -> int:
    """Tell how many worker processes the server runs this app in; 1 where it cannot be told.

    uvicorn and hypercorn keep their configuration on the object whose method `receive` is; it is
    there in a worker started by `uvicorn.run(workers=2)` too, which leaves no other trace.
    gunicorn's uvicorn workers lead from there to gunicorn's settings. Command lines are the last
    resort (gunicorn's own ASGI worker, granian).
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if getattr(config, "reload", False):
        return 1  # uvicorn ignores --workers then
    # A setting alone (WEB_CONCURRENCY) makes no workers: whoever serves by uvicorn.Server is one.
    child = multiprocessing.parent_process() is not None if child is None else child
    counts = [getattr(config, "workers", None) if child else None, _gunicorn(config)]
    if config is None or counts[1] is not None:
        counts.append(_command_line(argv, environ))
    return max([count for count in counts if isinstance(count, int)], default=1)


def _gunicorn(config: Any) -> int | None:
    worker = getattr(getattr(config, "callback_notify", None), "__self__", None)
    count: int | None = getattr(getattr(worker, "cfg", None), "workers", None)
    return count


def _command_line(argv: Sequence[str], environ: Mapping[str, str]) -> int | None:
    # The program, or the package where it was started by `python -m`.
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
