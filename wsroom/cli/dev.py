"""Serving an app during development: `wsroom dev`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from wsroom.cli.apps import name_of_app
from wsroom.errors import SetupError


def serve(file: Path, host: str, port: int) -> None:
    """Serve the app in `file` until Ctrl+C, reload it after each change, and print its URL.

    Raises:
        SetupError: there is no app in the file.

    """
    file = file.resolve()
    app = name_of_app(file)
    if not file.stem.isidentifier():
        raise SetupError(f"{file.name} cannot be imported; give it a name like app.py")
    # The same as uvicorn's own command, in steps: so the URL is known with --port 0 too.
    import uvicorn
    from uvicorn.supervisors import ChangeReload

    sys.path.insert(0, str(file.parent))
    config = uvicorn.Config(
        f"{file.stem}:{app}",
        host=host,
        port=port,
        reload=True,
        reload_dirs=[str(file.parent)],
        log_config=_log_config(uvicorn.config.LOGGING_CONFIG),
    )
    sock = config.bind_socket()
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"http://{shown}:{sock.getsockname()[1]}"
    print(f"wsroom: {file.name} is at {url}, and reloads when it changes; Ctrl+C stops it")
    sys.stdout.flush()
    ChangeReload(config, target=uvicorn.Server(config).run, sockets=[sock]).run()


def _log_config(config: dict[str, Any]) -> dict[str, Any]:
    # uvicorn logs the URL of each WebSocket, with the token that may be in its query string.
    filters = {"mask": {"()": "wsroom.logs.MaskQuery"}}
    handlers = {
        name: {**handler, "filters": ["mask"]} for name, handler in config["handlers"].items()
    }
    return {**config, "filters": filters, "handlers": handlers}
