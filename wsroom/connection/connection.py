"""One WebSocket connection: its handshake, its frames in order, its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from wsroom.api.socket import Socket
from wsroom.asgi.responses import refuse
from wsroom.asgi.types import Message, Receive, Scope, Send
from wsroom.connection.dispatch import handle
from wsroom.connection.inbox import Inbox, TokenBucket, close_code
from wsroom.connection.invoker import Calls
from wsroom.connection.session import Session
from wsroom.connection.supervisor import LATE, Interrupted, Supervisor, raised_by_app
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Joined
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject, check_close
from wsroom.routing.router import Route
from wsroom.wire import protocol
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import Inbound

logger = logging.getLogger("wsroom")

# `receive` does not yield while frames are queued: one flooder would hold up everybody else.
YIELD_EVERY = 64


class Connection:
    """The link between a peer, the hub and the app's code; a `Socket` is its public face."""

    __slots__ = (
        "_accepted",
        "_bad_frames",
        "_closed",
        "_hub",
        "_inbox",
        "_last_rooms",
        "_receive",
        "_send",
        "_subprotocol",
        "_supervisor",
        "_their_code",
        "answered",
        "calls",
        "id",
        "path",
        "path_params",
        "route",
        "scope",
        "session",
        "socket",
        "tasks",
        "worker",
        "writer",
    )

    def __init__(
        self,
        worker: Worker,
        route: Route,
        path: str,
        path_params: dict[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.id = worker.hub.new_id()
        self.path = path
        self.path_params = path_params
        self.scope = scope
        self.worker = worker
        self.route = route
        self.socket = Socket(self, {})
        self.calls = Calls(worker, route, self, self.socket)
        self.tasks: set[asyncio.Task[None]] | None = None
        """Handlers that run beside the next frames, once there was one."""
        self.answered = False
        """Whether the frame that is handled has had its one answer already."""
        self.session = Session(worker.hub, self.id)
        self._hub = worker.hub
        self._subprotocol = protocol.choose_subprotocol(scope.get("subprotocols", ()))
        self._receive = receive
        self._inbox = Inbox(receive)
        self._send = send
        self.writer = worker.writer(self.id, path, receive, send, self)
        budget = worker.limits.handler_timeout
        self._supervisor = Supervisor(worker.watch, self._inbox, budget, worker.grace, self)
        self._bad_frames: TokenBucket | None = None
        self._accepted = False
        self._last_rooms: frozenset[str] | None = None
        self._closed: tuple[int, str] | None = None  # by us
        self._their_code = 1006

    # -- what the Socket asks for ----------------------------------------------------------

    @property
    def write(self) -> Callable[[PreparedFrame], None]:
        return self.writer.write

    @property
    def rooms(self) -> frozenset[str]:
        return self._hub.names(self.writer) if self._last_rooms is None else self._last_rooms

    async def join(self, *rooms: str) -> None:
        for room in rooms:
            problem = protocol.room_problem(room, self.worker.limits)
            if problem is None and room.startswith(protocol.SOCKET_ID_PREFIX):
                problem = "is a socket's id, which cannot be joined"
            if problem:
                raise ValueError(f"room {room!r} {problem}; use another name")
        for room in rooms:
            try:
                joined = await self.join_room(room)
            except ProtocolError as exc:
                raise ValueError(exc.detail) from None
            if joined.new and self._accepted:
                await self.calls.hook("on_joined", room)
            elif joined.new and joined.since is not None:
                self.session.joined_at(room, joined.since)

    async def leave(self, *rooms: str) -> None:
        for room in rooms:
            if self._last_rooms is None and room in self.rooms:
                self._hub.leave(self.writer, room)
                self.session.recovered -= {room}
                if self._accepted:
                    await self.calls.quiet_hook("on_left", self.calls.emitter(), room)

    def close(self, code: int = 1000, reason: str = "") -> None:
        check_close(code, reason)
        if self._closed is None and not self._supervisor.ended:
            self._closed = code, reason
            self._leave_everything()
            if self._accepted:
                self.writer.close(code, reason)
                self._supervisor.start_grace()

    def session_hash(self) -> str:
        return self.session.hash()

    # -- the course of a connection --------------------------------------------------------

    async def run(self) -> None:
        """Live it, from the handshake to the last hook; `websocket.connect` has been received."""
        self._hub.add(self.writer)
        if self._subprotocol == protocol.RESUMING:
            self.session.start_hold(self.writer, self)
        task = asyncio.current_task()
        assert task is not None  # ASGI apps are called in tasks
        self.worker.connections.add(task)
        try:
            if await self._connect():
                await self._live()
        except asyncio.CancelledError:
            if self._supervisor.reason() is None:
                raise
        finally:
            self._supervisor.stop()
            self._supervisor.ended = True
            self._leave_everything()
            self._inbox.stop()
            try:
                if self._accepted:
                    await self._finish()
            finally:
                self.worker.connections.discard(task)
                await self.writer.stop()

    async def _connect(self) -> bool:
        try:
            refusal = await self._ask_to_connect()
            offset = None
            if refusal is None:
                offset = (await self._hub.join(self.writer, "")).since
        except AdapterError:
            logger.info("a socket on %s is refused: the adapter cannot do it now", self.path)
            refusal = Reject("the server cannot reach its broker; try again", status=503)
        if refusal is not None:
            await refuse(self.scope, self._inbox.next, self._send, refusal, self._subprotocol)
            return False
        try:
            await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol})
        except OSError:  # the peer did not wait; ASGI's word for that
            return False
        self._accepted = True
        self.writer.open(PreparedFrame(self._connected(offset)))
        if self.session.hold is not None:
            self.session.hold.expire(self.worker.holding)
        if self._closed is not None:  # by the app, while it was being accepted
            self.writer.close(*self._closed)
            self._supervisor.start_grace()
        return True

    async def _ask_to_connect(self) -> Reject | None:
        hook = self.route.hooks.get("on_connect")
        if hook is None:
            return None
        try:
            await self._supervisor.run(self.worker.call(hook, self.socket))
        except AdapterError:
            raise
        except Reject as exc:
            return exc
        except Disconnect:
            return Reject()
        except Interrupted as exc:
            if exc.args[0] == LATE:
                logger.error("on_connect on %s was cancelled: %s", self.path, exc)
            return Reject(status=500)
        except BaseException as exc:
            if not raised_by_app(exc):
                raise
            logger.error("on_connect on %s raised", self.path, exc_info=exc)
            return Reject(status=500)
        return None if self._closed is None else Reject()

    def _connected(self, offset: Offset | None) -> bytes:
        message: dict[str, Any] = {"id": self.id, "session": self.session.secret}
        if offset is not None:
            message["rooms"] = {"": str(offset), **self.session.told(self.rooms)}
        return protocol.encode(protocol.CONNECTED, message, self.id)

    async def _live(self) -> None:
        try:
            await self._supervisor.run(self._opened())
        except Interrupted as exc:
            if exc.args[0] == LATE:
                self.calls.late(None, None)
        received = tick = 0
        session, outbox, supervisor = self.session, self._hub.outbox, self._supervisor
        while not supervisor.ended:
            if self._inbox.idle:
                supervisor.noticed = False  # no frame waits: the app is not at work in a row
                message = await self._receive()
            else:
                message = await self._inbox.next()
            if message["type"] == "websocket.disconnect":
                self._their_code = close_code(message)
                return
            if self._closed is None:
                inbound = self._read(message)
                if inbound is not None:
                    self.answered = False
                    supervisor.begin()
                    try:
                        await handle(self, inbound)
                    except BaseException as exc:
                        await self._raised(exc, inbound)
                    finally:
                        supervisor.end()
                if session.hold is not None:
                    session.hold.release()
                    session.hold = None
            if tick != outbox.ticks:
                tick, received = outbox.ticks, 0
            received += 1
            if received % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _opened(self) -> None:
        for room in sorted(self.rooms):
            await self.calls.hook("on_joined", room)
        await self.calls.hook("on_open")

    def _read(self, message: Message) -> Inbound | None:
        text = message.get("text")
        try:
            if text is None:
                raise ProtocolError("bad_frame", "a binary frame; send JSON as text")
            return protocol.decode(text, self.worker.limits, self.route.handlers)
        except ProtocolError as exc:
            self.calls.error(exc.code, exc.detail, None, exc.id)
            self._count_bad_frame()
            return None

    async def _raised(self, exc: BaseException, inbound: Inbound) -> None:
        try:
            if isinstance(exc, asyncio.CancelledError):
                self._supervisor.raise_interrupted()
            await self._supervisor.guard(self.calls.answer(exc, inbound.event, inbound.id))
        except Interrupted as interrupted:
            if interrupted.args[0] == LATE:
                self.calls.late(inbound.event, None if self.answered else inbound.id)

    def _count_bad_frame(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._bad_frames is None:
            tolerated = self.worker.limits.bad_frames
            self._bad_frames = TokenBucket(tolerated / 60, tolerated, now)
        if not self._bad_frames.take(now):
            self.close(1008, "too many bad frames")

    async def _finish(self) -> None:
        try:
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=self.worker.grace)
            await self._cancel_tasks()
            for room in sorted(self.rooms):
                await self.calls.quiet_hook("on_left", self.calls.emitter(), room)
        finally:  # whatever happens, a cancellation from outside too
            await self._cancel_tasks()
            await self._disconnected()

    async def _cancel_tasks(self) -> None:
        if self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.wait(self.tasks, timeout=self.worker.grace)

    async def _disconnected(self) -> None:
        code = self._their_code if self._closed is None else self._closed[0]
        await self.calls.quiet_hook("on_disconnect", self.socket, code)

    # -- rooms -----------------------------------------------------------------------------

    async def join_room(self, room: str) -> Joined:
        """Join without a guard or a hook; raises ProtocolError where that is one room too many."""
        rooms = self.rooms
        most = self.worker.limits.rooms_per_socket
        if room not in rooms and len(rooms) >= most:
            raise ProtocolError("too_many_rooms", f"a socket is in {most} rooms at most")
        return await self._hub.join(self.writer, room)

    def _leave_everything(self) -> None:
        if self._last_rooms is None:
            self._last_rooms = self._hub.names(self.writer)
            self._hub.remove(self.writer)
            self.session.end()

    @property
    def ended(self) -> bool:
        """Whether it has left everything: nobody will read what is sent to it."""
        return self._last_rooms is not None

    def gone(self, code: int) -> None:
        """The peer has ended the connection, while a handler runs."""
        self._their_code = code
        self._leave_everything()
        self._supervisor.start_grace()

    def give_up(self, code: int, reason: str) -> None:
        """Close it without what is unsent, and say why in the log."""
        logger.warning("socket %s on %s is closed: %s", self.id, self.path, reason)
        self.writer.drop()
        self.close(code, reason)
