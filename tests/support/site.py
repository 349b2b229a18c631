"""The app of the wsroom.js tests: in the test's process, or in workers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from wsroom import Adapter, Disconnect, Emitter, MemoryAdapter, RedisAdapter, Reject, Socket, WSRoom

HISTORY = 300
"""More messages than a room gets while a client is disconnected."""

PLAIN = """<!doctype html><link rel="icon" href="data:,"><script src="/wsroom.js"></script>"""
MODULE = """<!doctype html><link rel="icon" href="data:,">
<script type="module">
import DoxWebSocket, { connect, WSRoomError } from "/wsroom.js";
window.imported = { DoxWebSocket, connect, WSRoomError };
</script>"""


class Site(WSRoom):
    """The app, with the state that tests inspect and change."""

    def __init__(self, adapter: Adapter | None = None, **options: Any) -> None:
        super().__init__(adapter, **options)
        self.sockets: dict[str, Socket] = {}
        """The open sockets, by id."""
        self.tokens: set[str] = set()
        """The valid tokens; if empty, no client needs one."""
        self.times: list[float] = []
        """When sockets connected, by the loop's clock."""
        self.handled: list[tuple[str, Any]] = []
        """Events and messages, in the order in which they were handled."""
        self.closed_rooms: set[str] = set()
        """Rooms that the guard refuses."""
        self.enough = asyncio.Event()
        """Ends the handlers of "wait"."""
        self._register()

    def _register(self) -> None:
        self.page("/")(lambda: PLAIN)
        self.page("/module")(lambda: MODULE)

        @self.on_connect()
        async def check(socket: Socket) -> None:
            if self.tokens and socket.query.get("token") not in self.tokens:
                raise Reject("this token has expired", status=401)
            if "room" in socket.query:
                await socket.join(socket.query["room"])

        @self.on_open()
        async def opened(emitter: Emitter) -> None:
            self.sockets[emitter.socket.id] = emitter.socket
            self.times.append(asyncio.get_running_loop().time())

        @self.on_disconnect()
        async def ended(socket: Socket, code: int) -> None:
            self.sockets.pop(socket.id, None)

        @self.on_join()
        async def guard(socket: Socket, room: str) -> None:
            if room in self.closed_rooms:
                raise Reject("nobody may join it")

        @self.on_joined()
        async def joined(emitter: Emitter, room: str) -> None:
            self.handled.append(("joined", room))

        @self.presence("crew:{id}", grace=30)
        async def card(socket: Socket, room: str) -> dict[str, Any]:
            return {"id": socket.query.get("name", socket.id)}

        @self.on("set")
        async def change(emitter: Emitter, message: dict[str, Any]) -> None:
            await emitter.socket.update_presence("crew:1", message)

        @self.on("say")
        async def say(emitter: Emitter, message: dict[str, Any]) -> int:
            """Emit to one room, or to the path if it is ""; return the worker's process id."""
            self.handled.append(("say", message))
            await emitter.to(*filter(None, [message["room"]])).emit("said", message)
            return os.getpid()

        @self.on("hush")
        async def hush(emitter: Emitter, message: dict[str, Any]) -> None:
            await emitter.to(message["room"]).emit_except_sender("said", message)

        @self.on("echo")
        async def echo(emitter: Emitter, message: Any) -> Any:
            self.handled.append(("echo", message))
            return message

        @self.on("pid")
        async def pid(emitter: Emitter) -> int:
            return os.getpid()

        @self.on("wait")
        async def wait(emitter: Emitter) -> None:
            self.handled.append(("wait", None))
            await self.enough.wait()

        @self.on("enter")
        async def enter(emitter: Emitter, room: str) -> None:
            await emitter.socket.join(room)

        @self.on("exit")
        async def exit(emitter: Emitter, room: str) -> None:
            await emitter.socket.leave(room)

        @self.on("quit")
        async def leave(emitter: Emitter, code: int) -> None:
            raise Disconnect(code, "go")


def adapter() -> Adapter:
    """A RedisAdapter if the environment has a URL, otherwise a MemoryAdapter."""
    url = os.environ.get("WSROOM_REDIS_URL")
    return RedisAdapter(url, history=HISTORY) if url else MemoryAdapter(history=HISTORY)


def create() -> Site:
    """Create the app for `uvicorn --factory tests.support.site:create`."""
    return Site(adapter())
