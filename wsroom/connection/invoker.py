"""Invoker the app's functions for one socket, and answers what they return and raise."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from wsroom.api.emitter import Emitter
from wsroom.api.socket import Link, Socket
from wsroom.connection.supervisor import raised_by_app
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject
from wsroom.routing.router import Route
from wsroom.wire import protocol
from wsroom.wire.protocol import Inbound

logger = logging.getLogger("wsroom")

AWAY = "the server cannot reach its broker; try again"


class Invoker:
    """The table of docs/api.md, "What raises", in one place."""

    __slots__ = ("_last", "_link", "_route", "_socket", "_worker")

    def __init__(self, worker: Worker, route: Route, link: Link, socket: Socket) -> None:
        self._worker = worker
        self._route = route
        self._link = link
        self._socket = socket
        self._last: Emitter | None = None

    def emitter(self, event: str | None = None) -> Emitter:
        """The emitter for a handler or a hook; the last one again where the event is the same."""
        last = self._last
        if last is None or last.event != event:
            last = Emitter(self._worker.hub, self._link.path, self._socket, event)
            self._last = last
        return last

    async def ask_guard(self, room: str) -> None:
        """Return where the socket may join `room`.

        Raises:
            Reject: the guard's own word.
            Disconnect: the same.
            ProtocolError: nobody may, or the guard failed.

        """
        route, worker = self._route, self._worker
        if not route.guards:
            worker.say_open(route.pattern.text)
            return
        found = route.guard(room)
        if found is None:
            raise ProtocolError("forbidden", "nobody may join this room")
        guard, values = found
        try:
            await worker.call(guard.callback, self._socket, room, **values)
        except (Reject, Disconnect):
            raise
        except AdapterError:
            raise ProtocolError("unavailable", AWAY) from None
        except Exception as exc:
            logger.exception("the guard of room %r on %s raised", room, self._link.path)
            raise ProtocolError("internal", worker.tell(exc)) from None

    async def hook(self, name: str, *args: Any) -> None:
        """Run a hook `(emitter, ...)` of the path, where there is one."""
        hook = self._route.hooks.get(name)
        if hook is not None:
            await self.attempt(self._worker.call(hook, self.emitter(), *args), name=name)

    async def quiet_hook(self, name: str, *args: Any) -> None:
        """Run a hook whose failure is nobody's business but the log's."""
        hook = self._route.hooks.get(name)
        if hook is None:
            return
        try:
            await self._worker.call_last(hook, *args)
        except BaseException as exc:
            if not raised_by_app(exc):
                raise
            logger.error("%s on %s raised", name, self._link.path, exc_info=exc)

    async def attempt(
        self,
        work: Awaitable[None],
        event: str | None = None,
        id: str | int | None = None,
        name: str = "",
    ) -> None:
        """Run the app's code and answer what it raises."""
        try:
            await work
        except BaseException as exc:
            await self.answer(exc, event, id, name)

    async def answer(
        self, exc: BaseException, event: str | None, id: str | int | None, name: str = ""
    ) -> None:
        """Answer what the app's code raised; raise it again where it is not the app's own."""
        if isinstance(exc, (ProtocolError, Reject)):
            self.error(exc.code, exc.detail, event, id)
        elif isinstance(exc, Disconnect):
            self._link.close(exc.code, exc.reason)
        elif raised_by_app(exc):
            await self._failed(exc, name or f"the handler of {event!r}", event, id)
        else:
            raise exc

    async def _failed(
        self, exc: BaseException, name: str, event: str | None, id: str | int | None
    ) -> None:
        away = isinstance(exc, AdapterError)
        hook = self._route.hooks.get("on_error")
        if hook is None and away:
            self._worker.say_away(f"{name} on {self._link.path}", exc)
        elif hook is None:
            logger.error("%s on %s raised", name, self._link.path, exc_info=exc)
        else:
            await self.quiet_hook("on_error", self.emitter(event), exc)
        if away:
            self.error("unavailable", AWAY, event, id)
        else:
            self.error("internal", self._worker.tell(exc), event, id)

    def reply(self, inbound: Inbound, message: Any) -> None:
        """Answer a frame that asked for an answer; raises what `protocol.encode` raises."""
        if inbound.id is not None:
            self._link.write(PreparedFrame(protocol.encode_reply(message, inbound.id)))

    def late(self, event: str | None, id: str | int | None) -> None:
        """Answer a frame whose handling was cancelled because its time was over."""
        logger.warning("the handler of %r on %s took too long", event, self._link.path)
        budget = self._worker.limits.handler_timeout
        self.error("timeout", f"it took longer than {budget:g} s", event, id)

    def error(self, code: str, detail: str, event: str | None, id: str | int | None) -> None:
        """Answer with an `error` frame."""
        self._link.write(PreparedFrame(protocol.encode_error(code, detail, event, id)))
