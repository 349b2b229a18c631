"""Clients that follow the wire contract, resume after any disconnect, and record what they see."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.faults.checker import (
    GAP,
    JOINED,
    LEFT,
    MESSAGE,
    NOTE,
    Entry,
    Key,
    Membership,
    SentMessage,
    Trace,
)
from tests.support.clock import SECOND, TICK

ANSWER = 15 * SECOND
"""Every request is answered within this time, whatever happens to the broker."""
OPEN = 2 * SECOND
MAX_BACKOFF = 40 * TICK

Message = dict[str, Any]


class Lost(Exception):
    """The connection ended before the answer arrived."""


class Refused(Exception):
    """The answer was an `error`."""


class Record:
    """What all clients of a run sent and received."""

    def __init__(self) -> None:
        self.sent: list[SentMessage] = []
        self.traces: dict[Membership, Trace] = {}
        self.counts: Counter[str] = Counter()
        """How often things happened: connections, disconnects, answers by code."""
        self.unanswered: list[str] = []
        """Requests without an answer on an open connection."""
        self.slowest = 0.0
        """Seconds until the slowest answer."""

    @property
    def accepted(self) -> int:
        return self.counts["accepted"]

    def trace(self, client: str, room: str) -> Trace:
        return self.traces.setdefault(Membership(client, room), [])


class Client:
    """One client: it connects to any of `urls`, and reconnects after each disconnect.

    Its messages are in `record.sent`, what it receives is in `record.traces`.
    """

    def __init__(
        self,
        record: Record,
        name: str,
        urls: Sequence[str],
        rooms: Sequence[str] = (),
        *,
        query: str = "",
        patient: bool = False,
    ) -> None:
        self.record = record
        self.name = name
        self.urls = urls
        self.url = ""
        """The server of its present or last connection."""
        self.query = query
        self.rooms = list(rooms)
        """The rooms it wants to be in."""
        self.offsets: dict[str, str | None] = {}
        """Its offsets in its rooms, and on the path ("")."""
        self.session = ""
        self.id = ""
        """Its socket's id, while it is connected."""
        self._alone = f"@{name}"  # in the record: the room of messages to its socket alone
        self.live = asyncio.Event()
        """Set while it is connected and in all its rooms."""
        self.greeted = asyncio.Event()
        """Set while it is connected."""
        # A patient client never pings: it stays connected to a frozen worker.
        self._ping = None if patient else SECOND
        self._random = random.Random(name)
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self._websocket: ClientConnection | None = None
        self._waiting: dict[int, tuple[asyncio.Future[Any], Callable[[Any], None] | None]] = {}
        self._setup: asyncio.Task[None] | None = None
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    # -- for the tests ------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and join the rooms."""
        self._task = asyncio.create_task(self._stay())
        async with asyncio.timeout(20 * SECOND):
            await self.live.wait()

    async def stop(self) -> None:
        self._ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5 * SECOND)

    def cut(self) -> None:
        """Abort the connection without a close frame; frames in flight are lost."""
        if self._websocket is not None:
            self._websocket.transport.abort()
            self.greeted.clear()
            self.live.clear()
            if self._setup is not None:
                self._setup.cancel()

    async def request(
        self, event: str, message: Any = None, taken: Callable[[Any], None] | None = None
    ) -> Any:
        """Send with an id; return the reply, and call `taken` with it in the order of frames."""
        websocket = self._websocket
        if websocket is None:
            raise Lost
        id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future, taken
        frame = {"event": event, "message": message, "id": id}
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER):
                await websocket.send(orjson.dumps(frame).decode())
                return await future
        except TimeoutError:
            self.record.unanswered.append(f"{self.name}: {event} {message}")
            self.cut()
            raise Lost from None
        except WebSocketException as exc:
            raise Lost from exc
        finally:
            self._waiting.pop(id, None)
            self.record.slowest = max(self.record.slowest, time.monotonic() - began)

    async def say(self, room: str, event: str = "say", **more: Any) -> SentMessage:
        """Send one message; `accepted` of the result is set if the reply arrives.

        A volatile message is never accepted: it may be lost.
        """
        key = Key(self.name, next(self._numbers))
        rooms = tuple(more.get("rooms", ()))
        said = SentMessage(key, room, time.monotonic(), rooms=rooms)
        if event == "others":
            said.without = self.name
        said.volatile = event == "volatile"
        self.record.sent.append(said)

        def accept(reply: Any) -> None:
            if event != "volatile":
                said.accepted = time.monotonic()
                self.record.counts["accepted"] += 1

        message = {"room": room, "by": key.by, "n": key.n, **more}
        with contextlib.suppress(Lost, Refused):
            await self.request(event, message, accept)
        return said

    async def burst(self, room: str, count: int, size: int) -> None:
        """Let the app emit `count` messages of `size` bytes, one after the other."""
        keys = [Key(self.name, next(self._numbers)) for _ in range(count)]
        burst = [SentMessage(key, room, time.monotonic()) for key in keys]
        self.record.sent += burst

        def accept(reply: Any) -> None:
            for said in burst:
                said.accepted = time.monotonic()

        message = {"room": room, "by": self.name, "n": keys[0].n, "count": count, "size": size}
        await self.request("burst", message, accept)

    async def join(self, room: str) -> None:
        """Join a room, also after each reconnect."""
        if room not in self.rooms:
            self.rooms.append(room)
        await self.request("joinRoom", room, lambda reply: self._stand(room, reply.get("offset")))

    async def leave(self, room: str) -> None:
        self.rooms.remove(room)
        self._left(room)
        await self.request("leaveRoom", room)

    def forget(self, room: str) -> None:
        """Do not join a room again."""
        if room in self.rooms:
            self.rooms.remove(room)

    # -- the connection -----------------------------------------------------------------

    async def _stay(self) -> None:
        tries = 0
        while not self._ending:
            try:
                await self._connection()
            except (OSError, TimeoutError, WebSocketException, Lost) as exc:
                self.record.counts[type(exc).__name__] += 1
            tries = 0 if self.live.is_set() else tries + 1
            await self._lose()
            # Sometimes at once, and sometimes late enough to miss messages.
            backoff = MAX_BACKOFF if tries else self._random.choice((TICK, MAX_BACKOFF))
            await asyncio.sleep(backoff * self._random.random())

    async def _connection(self) -> None:
        protocol = "wsroom.1.resume" if self._resumable else "wsroom.1"
        self.url = self._random.choice(self.urls)
        async with connect(
            self.url + self.query,
            subprotocols=[Subprotocol(protocol)],
            ping_interval=self._ping,
            ping_timeout=2 * SECOND,
            open_timeout=OPEN,
            close_timeout=SECOND,
            max_size=None,
            compression=None,
        ) as websocket:
            self._websocket = websocket
            self.record.counts["connections"] += 1
            async for raw in websocket:
                self._take(orjson.loads(raw))

    async def _lose(self) -> None:
        self.live.clear()
        self.greeted.clear()
        self._websocket = None
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(Lost())
        if self._setup is not None:
            self._setup.cancel()
            await asyncio.wait([self._setup])
            self._setup = None
        if self.id:
            self.id = ""
            self._note(self._alone, Entry(time.monotonic(), LEFT))
        for room, offset in list(self.offsets.items()):
            if offset is None:  # cannot be resumed
                self._left(room)
            else:
                self._note(room, Entry(time.monotonic(), NOTE, detail="cut off"))

    @property
    def _resumable(self) -> bool:
        return bool(self.session) and any(self.offsets.values())

    async def _be_there(self, resume: bool) -> None:
        """Resume the rooms with an offset, then join the others."""
        try:
            if resume:
                rooms = {room: offset for room, offset in self.offsets.items() if offset}
                message = {"session": self.session, "rooms": rooms}
                await self.request("resume", message, self._resumed)
            for room in self.rooms:
                if room not in self.offsets:
                    await self.join(room)
            self.live.set()
        except (Lost, Refused) as exc:
            self.record.counts[f"setup: {exc!r}"] += 1
            self.cut()

    # -- the frames, in order -----------------------------------------------------------

    def _take(self, frame: Message) -> None:
        event, room = frame["event"], frame["room"] or ""
        message = frame["message"]
        if "id" in frame:
            self._answer(frame)
        elif event == "connected":
            self._greet(message)
        elif event == "resync":
            self.record.counts["resyncs"] += 1
            self._gap(message["room"] or "", message.get("offset"), "resync")
            if message["room"] is None:  # of the path, or messages to this socket alone
                self._note(self._alone, Entry(time.monotonic(), GAP))
        elif event == "leftRoom":
            self.forget(message["room"])
            self._left(message["room"])
        elif event == "said":
            room = self._alone if room == self.id else room
            self._note(room, Entry(time.monotonic(), MESSAGE, Key(message["by"], message["n"])))
            if "offset" in frame and room in self.offsets:
                self.offsets[room] = frame["offset"]
        elif event == "error":
            self.record.counts[f"error: {message['code']}"] += 1

    def _answer(self, frame: Message) -> None:
        future, taken = self._waiting.get(frame["id"], (None, None))
        if future is None or future.done():
            return
        if frame["event"] == "error":
            code = frame["message"]["code"]
            self.record.counts[f"refused: {code}"] += 1
            future.set_exception(Refused(code))
            return
        if taken is not None:
            taken(frame["message"])
        future.set_result(frame["message"])

    def _greet(self, message: Message) -> None:
        resume = self._resumable
        self.id = message["id"]
        self._note(self._alone, Entry(time.monotonic(), JOINED))
        self.session = self.session or message.get("session", "")
        for room, offset in message.get("rooms", {"": None}).items():
            if not (resume and self.offsets.get(room)):
                self._stand(room, offset)
        self.greeted.set()
        self._setup = asyncio.create_task(self._be_there(resume))

    def _resumed(self, reply: Message) -> None:
        for room, answer in reply["rooms"].items():
            if "error" in answer:
                self.record.counts[f"resume: {answer['error']}"] += 1
                self._left(room)
            elif answer["recovered"]:
                self.record.counts["recovered"] += 1
                self.offsets[room] = answer["offset"]
                self._note(room, Entry(time.monotonic(), NOTE, detail="resumed"))
            else:
                self.record.counts["not recovered"] += 1
                self._gap(room, answer["offset"], "not recovered")

    def _stand(self, room: str, offset: str | None) -> None:
        if room not in self.offsets:
            self._note(room, Entry(time.monotonic(), JOINED))
        self.offsets[room] = offset

    def _gap(self, room: str, offset: str | None, why: str) -> None:
        if room in self.offsets:
            self.offsets[room] = offset
            self._note(room, Entry(time.monotonic(), GAP, detail=why))

    def _left(self, room: str) -> None:
        if room in self.offsets:
            del self.offsets[room]
            self._note(room, Entry(time.monotonic(), LEFT))

    def _note(self, room: str, entry: Entry) -> None:
        self.record.trace(self.name, room).append(entry)
