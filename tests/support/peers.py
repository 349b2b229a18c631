"""Clients that send and receive frames as documented, over Python's `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.clock import SECOND
from tests.support.servers import Server

WAIT = 10 * SECOND

Frame = dict[str, Any]


def bare(frame: Frame) -> Frame:
    """Return the frame without its offset, which is opaque to clients."""
    return {key: value for key, value in frame.items() if key != "offset"}


class Peer:
    """One client of a real server; every wait has a timeout."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.id = ""
        self._ids = itertools.count(1)

    async def send(self, event: str, message: Any = None, **more: Any) -> None:
        await self.websocket.send(json.dumps({"event": event, "message": message, **more}))

    async def raw(self, data: str | bytes) -> None:
        await self.websocket.send(data)

    async def next(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(WAIT):
            frame: Frame = json.loads(await self.websocket.recv())
            return frame

    async def expect(self, event: str) -> Any:
        """Assert that the next frame is of `event`; return its message."""
        frame = await self.next()
        assert frame["event"] == event, frame
        return frame["message"]

    async def error(self, code: str) -> Frame:
        """Assert that the next frame is an `error` with `code`; return the frame."""
        frame = await self.next()
        assert (frame["event"], frame["message"].get("code")) == ("error", code), frame
        return frame

    async def request(self, event: str, message: Any = None) -> Any:
        """Send with an id; assert that the next frame is the reply; return its message."""
        id = next(self._ids)
        await self.send(event, message, id=id)
        frame = await self.next()
        assert (frame["event"], frame.get("id")) == ("reply", id), frame
        return frame["message"]

    async def join(self, room: str) -> None:
        assert (await self.request("joinRoom", room))["room"] == room

    async def closed(self) -> int:
        """Read until the server closes; return its code."""
        async with asyncio.timeout(WAIT):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.websocket.recv()
        assert self.websocket.close_code is not None
        return self.websocket.close_code


@contextlib.asynccontextmanager
async def peer(server: Server, path: str = "/ws", **options: Any) -> AsyncIterator[Peer]:
    """Connect to `server` and read `connected`."""
    options.setdefault("open_timeout", WAIT)
    options.setdefault("max_size", None)
    async with connect(server.url(path), **options) as websocket:
        client = Peer(websocket)
        client.id = (await client.expect("connected"))["id"]
        yield client


def count_pings(client: Peer) -> Any:
    """Count the pings that the client answers from now on."""
    count = 0
    protocol = client.websocket.protocol
    receive = protocol.recv_frame

    def counting(frame: Any) -> None:
        nonlocal count
        count += frame.opcode == 9
        receive(frame)

    protocol.recv_frame = counting  # type: ignore[method-assign]
    return lambda: count
