"""wsroom: a decorator-based microframework for real-time WebSocket apps with rooms."""

import importlib
from typing import TYPE_CHECKING, Any

from wsroom.adapters import Adapter as Adapter
from wsroom.adapters import MemoryAdapter as MemoryAdapter
from wsroom.api.blocking import BlockingEmitter as BlockingEmitter
from wsroom.api.blocking import BlockingSocket as BlockingSocket
from wsroom.api.emitter import Emitter as Emitter
from wsroom.api.socket import Socket as Socket
from wsroom.api.target import Target as Target
from wsroom.app import WSRoom as WSRoom
from wsroom.errors import AdapterError as AdapterError
from wsroom.errors import Disconnect as Disconnect
from wsroom.errors import Reject as Reject
from wsroom.errors import SetupError as SetupError
from wsroom.errors import WSRoomError as WSRoomError
from wsroom.limits import Limits as Limits
from wsroom.routing.controllers import Controller as Controller
from wsroom.routing.controllers import on as on
from wsroom.routing.router import Router as Router
from wsroom.stats import Stats as Stats

if TYPE_CHECKING:
    from wsroom import client as client
    from wsroom.adapters.redis import RedisAdapter as RedisAdapter
    from wsroom.publisher import AsyncPublisher as AsyncPublisher
    from wsroom.publisher import Publisher as Publisher

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "AdapterError",
    "AsyncPublisher",
    "BlockingEmitter",
    "BlockingSocket",
    "Controller",
    "Disconnect",
    "Emitter",
    "Limits",
    "MemoryAdapter",
    "Publisher",
    "RedisAdapter",
    "Reject",
    "Router",
    "SetupError",
    "Socket",
    "Stats",
    "Target",
    "WSRoom",
    "WSRoomError",
    "__version__",
    "on",
]


_NEED_REDIS = {
    "AsyncPublisher": "wsroom.publisher",
    "Publisher": "wsroom.publisher",
    "RedisAdapter": "wsroom.adapters.redis",
}


def __getattr__(name: str) -> Any:
    # Importing redis takes as long as all the rest, and most programs that import wsroom, tests
    # among them, do not need it.
    if name == "client":
        return importlib.import_module("wsroom.client")
    if name in _NEED_REDIS:
        return getattr(importlib.import_module(_NEED_REDIS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
