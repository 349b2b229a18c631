"""The state of one WebSocket connection, its rooms, and how it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from wsroom.api.socket import Socket
from wsroom.asgi.types import Receive, Scope, Send
from wsroom.connection.inbox import Inbox, Source
from wsroom.connection.invoker import Invoker
from wsroom.connection.membership import Membership
from wsroom.connection.moderation import Grant
from wsroom.connection.session import Session
from wsroom.connection.supervisor import Supervisor, raised_by_app
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.writer import TOO_SLOW
from wsroom.errors import Disconnect, ProtocolError, Reject, check_close
from wsroom.logs import about
from wsroom.rates import EventRate, Usage
from wsroom.routing.route import Route
from wsroom.tasks import HANDLING
from wsroom.wire import protocol
from wsroom.wire.joins import encode_left

logger = logging.getLogger("wsroom")


class Connection(Membership):
    """Connects a peer, the hub and the app's code; `Socket` is its public interface.

    It must be created in the task in which `Lifecycle` runs it.
    """

    __slots__ = (
        "_joins_due",
        "accepted",
        "answered",
        "closed_with",
        "inbox",
        "invoker",
        "path_params",
        "peer_code",
        "scope",
        "session",
        "socket",
        "source",
        "supervisor",
        "tasks",
        "usage",
        "user",
        "writer",
    )

    def __init__(
        self,
        worker: Worker,
        route: Route,
        path: str,
        path_params: dict[str, Any],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        super().__init__(worker, route, path)
        self.path_params = path_params
        self.scope = scope
        self.socket = Socket(self, {})
        self.invoker = Invoker(worker, route, self, self.socket)
        self.session = Session(worker.hub, self.id)
        self.inbox = Inbox(receive, worker.hub.counters)
        self.source: Source = self.inbox
        """Where its frames come from."""
        self.writer = worker.make_writer(self.id, path, receive, send, self)
        budget = worker.limits.handler_timeout
        self.supervisor = Supervisor(worker.watch, budget, worker.timing, self)
        self.user: Any = None
        """The last value of the `on_connect` functions that is not None."""
        self.accepted = False
        """Whether the handshake is done."""
        self.answered = False
        """Whether the current frame has been answered."""
        self.tasks: set[asyncio.Task[None]] | None = None
        """Handlers that run concurrently with the next frames; None before the first."""
        self.usage: Usage | None = None
        """What it has used of the rates of handlers; None before the first."""
        self.closed_with: tuple[int, str] | None = None
        """The code and reason with which the server closed it."""
        self.peer_code = 1006
        """The code with which the peer disconnected."""
        self._joins_due = 0.0

    # -- what the Socket asks for ----------------------------------------------------------

    @property
    def write(self) -> Callable[[PreparedFrame], None]:
        return self.writer.write

    async def join(self, *rooms: str) -> None:
        for room in rooms:
            error = protocol.room_name_error(room, self.worker.limits)
            if error is None and room.startswith(protocol.SOCKET_ID_PREFIX):
                error = "is a socket's id, which cannot be joined"
            if error:
                raise ValueError(f"room {room!r} {error}; use another name")
        for room in rooms:
            try:
                joined = await self.join_room(room)
            except ProtocolError as exc:
                raise ValueError(exc.detail) from None
            if joined.new and joined.since is not None:
                self.session.note_join(room, joined, opening=not self.accepted)
            if joined.new and self.accepted:
                self._write_joined(room, joined.now)
                await self.invoker.run_hook("on_joined", room)

    async def leave(self, *rooms: str) -> None:
        for room in rooms:
            if self.leave_room(room) and self.accepted:
                self.write(PreparedFrame(encode_left(room)))
                await self.run_on_left(room)

    def close(self, code: int = 1000, reason: str = "") -> None:
        check_close(code, reason)
        if self.closed_with is None and not self.supervisor.stopped:
            self.closed_with = code, reason
            self.leave_everything()
            if self.accepted:
                self.writer.close(code, reason)
                self.supervisor.start_grace()

    def session_hash(self) -> str:
        return self.session.hash()

    def take(self, limit: EventRate) -> float:
        """Use one of a handler's rate; return 0, or the seconds until the client may."""
        user = None if limit.key is None else limit.key(self.socket)
        if user is not None:
            return self.worker.usage.take(limit, user, self.supervisor.started)
        if self.usage is None:
            self.usage = Usage()
        return self.usage.take(limit, None, self.supervisor.started)

    async def wait_to_join(self) -> None:
        """Count a join of the client, and wait until it is within the limit."""
        rate, now = self.worker.joins, self.supervisor.started
        self._joins_due = rate.after(self._joins_due, now)
        if wait := rate.wait(self._joins_due, now):
            await asyncio.sleep(wait)

    # -- rooms and the end: what the rest of this folder asks for --------------------------

    def start_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the app's code concurrently with the next frames; the last hooks wait for it."""
        if self.tasks is None:
            self.tasks = set()
        task = asyncio.get_running_loop().create_task(work, name=HANDLING)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # -- moderation ------------------------------------------------------------------------

    def expel(self, room: str) -> None:
        """Leave a room, and end the joins to it that are under way; notify the client."""
        if self.leave_room(room) and self.accepted:
            self.write(PreparedFrame(encode_left(room)))
            if "on_left" in self.route.hooks:  # many may leave in one tick
                self.start_beside(self.run_on_left(room))

    async def recheck(self, grant: Grant) -> None:
        """Ask the guard again, and leave the room if it refuses; raises only CancelledError."""
        try:
            if grant in self.grants and not self.ended:
                async with asyncio.timeout(self.worker.limits.handler_timeout):
                    await self.invoker.check_guard(grant.room)
        except BaseException as exc:
            if not raised_by_app(exc):
                raise
            if grant not in self.grants or self.ended:
                return  # it was left meanwhile, and maybe another guard has let it in again
            if isinstance(exc, Reject):
                self.expel(grant.room)
            elif isinstance(exc, Disconnect):
                self.close(exc.code, exc.reason)
            else:
                logger.warning(
                    "socket %s stays in room %r on %s: its guard was asked again and failed (%r)",
                    self.id,
                    grant.room,
                    self.path,
                    exc,
                    extra=about(path=self.path, room=grant.room, socket_id=self.id),
                )

    def log_extra(self) -> dict[str, str]:
        """Return the `extra` of a log line about this connection."""
        return about(path=self.path, socket_id=self.id)

    def peer_gone(self, code: int) -> None:
        """The peer has disconnected with `code` while the app's code runs."""
        self.peer_code = code
        self.leave_everything()
        self.supervisor.start_grace()

    def give_up(self, code: int, reason: str) -> None:
        """Close it, drop its unsent frames, and log why."""
        logger.warning(
            "socket %s on %s is closed: %s", self.id, self.path, reason, extra=self.log_extra()
        )
        if reason == TOO_SLOW[1]:
            self.worker.hub.counters.slow_closes += 1
        self.writer.drop()
        self.close(code, reason)
