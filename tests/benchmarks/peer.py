"""The peers: how each is started and spoken to."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tests.benchmarks.lab import HERE

PEERS = HERE / "peers"
MOVE = {"room": "~~~~~~", "x": 512, "y": 301, "n": "@########"}
"""A player's move, as `wsload --mode rooms` fills it in."""


@dataclass(frozen=True)
class Peer:
    """One server program; `{port}` stands for its port."""

    name: str
    command: tuple[str, ...]
    dialect: str = "plain"
    joined: bool = False
    """Whether it runs as two workers, joined by Redis."""

    def load(self, event: str, message: str = "hello") -> list[str]:
        """Give wsload's arguments for connecting and for sending `event`."""
        return [*self.connecting(), "--frame", self.frame(event, message)]

    def connecting(self, *frames: str) -> list[str]:
        """Give wsload's arguments for connecting and for sending frames that are answered."""
        options: list[str] = []
        sent, answers = list(frames), len(frames)
        if self.dialect == "wsroom":
            options, answers = ["--path", "/ws"], answers + 1
        if self.dialect == "socketio":
            options = ["--path", "/socket.io/?EIO=4&transport=websocket", "--eio"]
            sent, answers = ["40", *sent], answers + 2
        for frame in sent:
            options += ["--init", frame]
        return [*options, "--wait-init", str(answers)]

    def frame(self, event: str, message: object) -> str:
        if self.dialect == "socketio":
            return "42" + compact([event, message])
        return compact({"event": event, "message": message})

    def join(self, room: str) -> str:
        if self.dialect == "wsroom":
            return compact({"event": "joinRoom", "message": room, "id": 1})
        return self.frame("join", room)

    def leave(self, room: str) -> str:
        if self.dialect == "wsroom":
            return compact({"event": "leaveRoom", "message": room, "id": 2})
        return self.frame("leave", room)

    def membership(self) -> list[str]:
        """Give wsload's arguments for joining and leaving a room in turn, each answered."""
        return [*self.connecting(), "--frame", self.join("lobby"), "--frame", self.leave("lobby")]

    def small_rooms(self) -> list[str]:
        """Give wsload's arguments for joining a small room and sending to the others in it."""
        return [*self.connecting(self.join("~~~~~~")), "--frame", self.frame("move", MOVE)]


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def uvicorn(name: str, app: str, dialect: str = "plain") -> Peer:
    command = ("python", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
    quiet = ("--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS))
    return Peer(name, (*command, *quiet, app), dialect)


def joined(peer: Peer) -> Peer:
    """Two workers of `peer`, joined by a Redis, whose URL their environment has."""
    return replace(peer, joined=True)


def python(name: str, file: str) -> Peer:
    return Peer(name, ("python", str(PEERS / file), "{port}"))


def node(name: str, file: str, *arguments: str, dialect: str = "plain") -> Peer:
    return Peer(name, ("node", str(PEERS / file), "{port}", *arguments), dialect)


FLOOR = Peer("C floor", ("floor", "{port}"))
WSROOM = uvicorn("wsroom", "wsroom_app:app", "wsroom")
WITHOUT_HISTORY = uvicorn("wsroom, history=0", "wsroom_app:without_history", "wsroom")
CONCURRENT = uvicorn("wsroom, concurrent=True", "wsroom_app:concurrent", "wsroom")
RAW_ASGI = uvicorn("raw ASGI", "raw_asgi:app")
STARLETTE = uvicorn("Starlette", "starlette_app:app")
SOCKETIO = uvicorn("python-socketio", "socketio_app:app", "socketio")
CHANNELS = uvicorn("Channels", "channels_app:app")
LITESTAR = uvicorn("Litestar", "litestar_app:app")
WEBSOCKETS = python("websockets broadcast()", "websockets_app.py")
PYTHON_FLOOR = python("Python floor", "python_floor.py")
PICOWS = python("picows", "picows_app.py")
SOCKETIFY = python("socketify", "socketify_app.py")
NODE_WS = node("Node ws", "node_ws.js")
NODE_WS_DEFLATE = node("Node ws", "node_ws.js", "deflate")
NODE_SOCKETIO = node("Node Socket.IO", "node_socketio.js", dialect="socketio")
# Next to each other: what wsroom is compared with most closely.
ALL = (
    FLOOR,
    PYTHON_FLOOR,
    SOCKETIFY,
    WSROOM,
    PICOWS,
    RAW_ASGI,
    NODE_WS,
    NODE_SOCKETIO,
    WEBSOCKETS,
    STARLETTE,
    LITESTAR,
    SOCKETIO,
    CHANNELS,
)

# Valkey, of the wheel that brings its server: the same one everywhere, without root.
REDIS_OPTIONS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
REDIS = Peer("Redis", ("redis", "--port", "{port}", *REDIS_OPTIONS), "redis")
REDIS_PIPELINED = replace(REDIS, name="Redis alone: PUBLISH, pipelined")
REDIS_PING = replace(REDIS, name="Redis alone: PING and its answer")
REDIS_PUBLISH = replace(REDIS, name="Redis alone: PUBLISH to a subscriber")
EMITTING = joined(uvicorn("wsroom", "emits_app:app", "wsroom"))
ALL_JOINED = tuple(map(joined, (WSROOM, CONCURRENT, LITESTAR, SOCKETIO, CHANNELS)))
