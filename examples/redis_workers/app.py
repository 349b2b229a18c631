# The chat of examples/chat, unchanged, in four worker processes that share a Redis server.
# export WSROOM_REDIS_URL=redis://localhost:6379
# Run it with: uvicorn --app-dir examples/redis_workers app:app --workers 4
# Open http://127.0.0.1:8000 in several windows: their sockets are on several workers.

from __future__ import annotations

import runpy
from pathlib import Path

app = runpy.run_path(str(Path(__file__).parents[1] / "chat" / "app.py"))["app"]
