"""Runs one connection: its handshake, its frames in order, its end."""

from __future__ import annotations

import asyncio
import logging

from wsroom.asgi.responses import refuse
from wsroom.asgi.types import Receive, Send
from wsroom.connection.connection import Connection
from wsroom.connection.dispatch import handle
from wsroom.connection.frame_limit import FrameLimit
from wsroom.connection.inbox import TokenBucket
from wsroom.connection.invoker import UNAVAILABLE
from wsroom.connection.opening import ask_app, connected_frame
from wsroom.connection.supervisor import Interrupted
from wsroom.delivery.frames import PreparedFrame
from wsroom.direct.eager import Started, start
from wsroom.errors import AdapterError, ProtocolError, Reject
from wsroom.schema.problems import InvalidMessage
from wsroom.stats import BY_CLIENT, BY_SERVER
from wsroom.wire import protocol
from wsroom.wire.frame_id import find_id
from wsroom.wire.offsets import Offset
from wsroom.wire.protocol import Inbound

logger = logging.getLogger("wsroom")

# `receive` does not suspend while frames are queued: one client could block all others.
YIELD_EVERY = 64
YIELD_AFTER = 0.005  # seconds

SLOW_CHECK = 0.01
"""Seconds to find a message invalid, beyond which its frame counts as a bad one."""

_REFUSALS = {500: "failed", 503: "unavailable"}
"""Why a socket is refused, by the status; an app rejects sockets with any other."""


class Lifecycle:
    """Runs a connection from its handshake to its last hook."""

    __slots__ = (
        "_bad_frames",
        "_connection",
        "_limit",
        "_receive",
        "_send",
        "_slow_check",
        "_subprotocol",
    )

    def __init__(self, connection: Connection, receive: Receive, send: Send) -> None:
        self._connection = connection
        self._receive = receive
        self._send = send
        offered = connection.scope.get("subprotocols", ())
        self._subprotocol = protocol.choose_subprotocol(offered)
        self._bad_frames: TokenBucket | None = None
        self._limit = FrameLimit(connection)
        self._slow_check = False  # the message of the current frame is invalid, and that took long

    async def run(self) -> None:
        """Run the connection; `websocket.connect` has been received."""
        connection = self._connection
        connection.worker.hub.add(connection.writer)
        connection.worker.moderation.add(connection)
        if self._subprotocol == protocol.RESUME_SUBPROTOCOL:
            connection.session.start_buffering(connection.writer, connection)
        task = asyncio.current_task()
        assert task is not None  # ASGI apps are called in tasks
        connection.worker.connections[task] = self._limit
        try:
            if await self._connect():
                await self._handle_frames()
        except asyncio.CancelledError:
            if connection.supervisor.take_reason() is None:
                raise
        finally:
            connection.supervisor.stop()
            connection.leave_everything()
            connection.source.stop()
            try:
                if connection.accepted:
                    self._count_end()
                    await self._run_closing_hooks()
            finally:
                connection.worker.connections.pop(task, None)
                connection.worker.admission.leave(connection.scope)
                await connection.writer.stop()

    # -- the handshake ---------------------------------------------------------------------

    async def _connect(self) -> bool:
        connection = self._connection
        try:
            refusal = await ask_app(connection)
            offset = None
            if refusal is None:
                offset = (await connection.worker.hub.join(connection.writer, "")).since
        except AdapterError:
            logger.info(
                "refused a socket on %s: the adapter is unavailable",
                connection.path,
                extra=connection.log_extra(),
            )
            refusal = Reject(UNAVAILABLE, status=503)
        if refusal is not None:
            reason = _REFUSALS.get(refusal.status, "rejected")
            connection.worker.hub.counters.refused(reason)
            receive = connection.inbox.next
            await refuse(connection.scope, receive, self._send, refusal.status, refusal.detail)
            return False
        link = None
        if connection.inbox.idle:  # else `receive` is being awaited
            link = await connection.worker.make_link(self._receive, connection.writer)
        if link is not None:
            connection.source = link
            link.begin = self._begin
        try:
            await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol})
        except OSError:  # in ASGI: the peer has disconnected
            return False
        if link is not None:
            link.accepted()
        self._open(offset)
        return True

    def _open(self, offset: Offset | None) -> None:
        connection = self._connection
        connection.accepted = True
        connection.route.open += 1
        connection.route.opened += 1
        connection.writer.open(PreparedFrame(connected_frame(connection, offset)))
        connection.session.release_after(connection.worker.timing.hold)
        if connection.closed_with is not None:  # by the app, during the handshake
            connection.writer.close(*connection.closed_with)
            connection.supervisor.start_grace()

    # -- its frames ------------------------------------------------------------------------

    async def _handle_frames(self) -> None:
        connection = self._connection
        source, session, limit = connection.source, connection.session, self._limit
        supervisor, outbox = connection.supervisor, connection.worker.hub.outbox
        try:
            await supervisor.run(self._run_opening_hooks())
        except Interrupted as exc:
            if exc.timed_out:
                connection.invoker.answer_timeout(None, None)
        if limit.over:
            await limit.pause()
        received = tick = 0
        since = 0.0
        while not supervisor.stopped:
            frame: str | bytes | Started[Inbound | None] | None = source.take()
            if frame is None:
                if source.idle:
                    supervisor.long_running = False  # the app's code has paused
                frame = await source.wait()
                if frame is None:
                    connection.peer_code = source.close_code
                    return
            started: Started[Inbound | None] | None = None
            if isinstance(frame, Started):
                started = frame
                inbound: Inbound | None = frame.of
            else:
                inbound = self._inbound(frame)
            if inbound is not None:
                try:
                    await (started or handle(connection, inbound))
                except BaseException as exc:
                    if started is None:
                        self._note_check(exc)
                    await self._answer_exception(exc, inbound)
                finally:
                    supervisor.end()
            if session.buffer is not None:
                session.release()
            if limit.over:
                await limit.pause()
            if tick != outbox.ticks:
                tick, received, since = outbox.ticks, 0, supervisor.started
            received += 1
            late = received > 1 and supervisor.started - since > YIELD_AFTER
            if late or received % YIELD_EVERY == 0:
                received, since = 0, supervisor.started
                await asyncio.sleep(0)

    def _begin(self, frame: str | bytes) -> Started[Inbound | None] | None:
        # What `_handle_frames` does with a frame, up to where it would have to wait.
        inbound = self._inbound(frame)
        if inbound is not None:
            started: Started[Inbound | None] | None
            started = start(inbound, handle, self._connection, inbound)
            if started is not None:
                self._note_check(started.exc)
                return started
            self._connection.supervisor.end()
        if self._connection.session.buffer is not None:
            self._connection.session.release()
        return Started(None, None, None) if self._limit.over else None

    def _note_check(self, exc: BaseException | None) -> None:
        # The check of a message comes first, so it took all the time since the start.
        if isinstance(exc, InvalidMessage):
            elapsed = asyncio.get_running_loop().time() - self._connection.supervisor.started
            self._slow_check = elapsed > SLOW_CHECK

    def _inbound(self, frame: str | bytes) -> Inbound | None:
        # Returns what is to be handled, and starts its time; None if nothing is. Counts the frame.
        connection = self._connection
        if connection.closed_with is not None:
            return None
        limit = self._limit
        limit.left -= 1
        if limit.left < 0:
            limit.use_part()
        inbound = self._read(frame)
        if inbound is not None:
            connection.answered = False
            connection.supervisor.begin()
        return inbound

    async def _run_opening_hooks(self) -> None:
        connection = self._connection
        for room in sorted(connection.rooms):
            if connection.route.card_maker(room) is not None:
                await connection.invoker.run(connection.enter_opened(room), name="presence")
            if room in connection.rooms:
                await connection.invoker.run_hook("on_joined", room)
        await connection.invoker.run_hook("on_open")

    def _read(self, frame: str | bytes) -> Inbound | None:
        connection = self._connection
        try:
            if isinstance(frame, bytes):
                id = find_id(frame.decode(errors="surrogateescape"), may_be_json=True)
                raise ProtocolError("bad_frame", "a binary frame; send JSON as text", id)
            return protocol.decode(frame, connection.worker.limits, connection.route.handlers)
        except ProtocolError as exc:
            connection.worker.hub.counters.unread_frames += 1
            connection.invoker.send_error(exc.code, exc.detail, None, exc.id)
            if exc.code != "too_large" or exc.id is None:  # with an id its sender learns of it
                self._count_bad_frame()
            return None

    def _count_bad_frame(self) -> None:
        now = asyncio.get_running_loop().time()
        self._connection.worker.hub.counters.bad_frames += 1
        if self._bad_frames is None:
            tolerated = self._connection.worker.limits.bad_frames
            self._bad_frames = TokenBucket(tolerated / 60, tolerated, now)
        if not self._bad_frames.take(now):
            self._connection.close(1008, "too many bad frames")

    async def _answer_exception(self, exc: BaseException, inbound: Inbound) -> None:
        connection, supervisor = self._connection, self._connection.supervisor
        try:
            if isinstance(exc, asyncio.CancelledError):
                supervisor.raise_interrupted()
            await supervisor.run_within(
                connection.invoker.answer_exception(exc, inbound.event, inbound.id)
            )
        except Interrupted as interrupted:
            if interrupted.timed_out:
                id = None if connection.answered else inbound.id
                connection.invoker.answer_timeout(inbound.event, id)
        if self._slow_check:
            self._slow_check = False
            self._count_bad_frame()

    # -- its end ---------------------------------------------------------------------------

    async def _run_closing_hooks(self) -> None:
        connection = self._connection
        try:
            if connection.tasks:
                await asyncio.wait(connection.tasks, timeout=connection.worker.timing.grace)
            await self._cancel_tasks()
            for room in sorted(connection.rooms):
                await connection.invoker.run_logged_hook(
                    "on_left", connection.invoker.emitter(), room
                )
        finally:  # also if this task is cancelled from outside
            await self._cancel_tasks()
            await self._run_on_disconnect()

    def _count_end(self) -> None:
        connection = self._connection
        connection.route.open -= 1
        side = BY_CLIENT if connection.closed_with is None else BY_SERVER
        connection.worker.hub.counters.closed(side, self._close_code())

    def _close_code(self) -> int:
        closed = self._connection.closed_with
        return self._connection.peer_code if closed is None else closed[0]

    async def _cancel_tasks(self) -> None:
        tasks = self._connection.tasks
        if tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=self._connection.worker.timing.grace)

    async def _run_on_disconnect(self) -> None:
        connection = self._connection
        code = self._close_code()
        await connection.invoker.run_logged_hook("on_disconnect", connection.socket, code)
