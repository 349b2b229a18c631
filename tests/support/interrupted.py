"""A server that breaks off in the middle of a history, which a real one does only by chance."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

NAMES = [Subprotocol("wsroom.1.resume"), Subprotocol("wsroom.1")]


class Interrupted:
    """Cuts the first connection after one message of the history; replays the rest on `resume`.

    Args:
        live: whether the socket is in the room from the start, at its message 10.

    """

    def __init__(self, live: bool) -> None:
        self.live = live
        self.url = ""
        self.asked: list[tuple[str, Any]] = []
        """Events and messages of the clients."""
        self._connections = 0

    async def handle(self, websocket: ServerConnection) -> None:
        """Serve one connection."""
        self._connections += 1
        first = self._connections == 1
        rooms = {"": "p:0"} | ({"chat": "c:10"} if self.live and first else {})
        await _send(websocket, "connected", {"id": "ws:1.2", "session": "s", "rooms": rooms})
        with contextlib.suppress(ConnectionClosed):
            async for text in websocket:
                frame = json.loads(text)
                self.asked.append((frame["event"], frame["message"]))
                await self._answer(websocket, frame, first)

    async def _answer(self, websocket: ServerConnection, frame: Any, first: bool) -> None:
        if frame["event"] == "joinRoom" and first:
            await _send(websocket, "said", 8, room="chat", offset="c:8")
            websocket.transport.abort()
        elif frame["event"] == "joinRoom":
            answer = {"room": "chat", "offset": "c:11", "replayed": 0}
            await _send(websocket, "reply", answer, id=frame["id"])
        else:
            since = int(frame["message"]["rooms"]["chat"].removeprefix("c:"))
            for number in range(since + 1, 12):
                await _send(websocket, "said", number, room="chat", offset=f"c:{number}")
            rooms = {"": {"recovered": True, "offset": "p:0"}}
            rooms["chat"] = {"recovered": True, "offset": "c:11"}
            await _send(websocket, "reply", {"rooms": rooms}, id=frame["id"])


async def _send(websocket: ServerConnection, event: str, message: Any, **more: Any) -> None:
    frame = {"event": event, "message": message, "sender": None, "room": None, **more}
    await websocket.send(json.dumps(frame))


@contextlib.asynccontextmanager
async def interrupted(live: bool) -> AsyncIterator[Interrupted]:
    """Run such a server on a free port."""
    server = Interrupted(live)
    async with serve(server.handle, "127.0.0.1", 0, subprotocols=NAMES) as listening:
        (socket,) = listening.sockets
        server.url = f"ws://127.0.0.1:{socket.getsockname()[1]}/ws"
        yield server
