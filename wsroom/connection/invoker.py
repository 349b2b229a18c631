"""Calls the app's functions for one socket, and answers what they return and raise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Any

from wsroom.api.emitter import Emitter
from wsroom.api.socket import Socket, SocketConnection
from wsroom.connection.supervisor import raised_by_app
from wsroom.connection.worker import Worker
from wsroom.delivery.frames import PreparedFrame
from wsroom.errors import AdapterError, Disconnect, ProtocolError, Reject
from wsroom.logs import about
from wsroom.presence.cards import Present, read_card
from wsroom.routing.callbacks import Callback
from wsroom.routing.route import Route
from wsroom.schema.conformity import check_payload
from wsroom.schema.schema import Schema
from wsroom.wire import protocol
from wsroom.wire.protocol import Inbound

logger = logging.getLogger("wsroom")

UNAVAILABLE = "the server cannot reach its broker; try again"


class Invoker:
    """Calls guards, hooks and handlers; implements the table "What raises" of docs/api.md."""

    __slots__ = ("_connection", "_last", "_route", "_socket", "_worker")

    def __init__(
        self, worker: Worker, route: Route, connection: SocketConnection, socket: Socket
    ) -> None:
        self._worker = worker
        self._route = route
        self._connection = connection
        self._socket = socket
        self._last: Emitter | None = None

    def emitter(self, event: str | None = None) -> Emitter:
        """Return the emitter for a handler or a hook: the same one again for the same event."""
        last = self._last
        if last is None or last.event != event:
            last = Emitter(self._worker.hub, self._connection.path, self._socket, event)
            self._last = last
        return last

    async def check_guard(self, room: str) -> None:
        """Return if the client may join `room`.

        Raises:
            Reject: by the guard.
            Disconnect: by the guard.
            ProtocolError: no guard matches the room, a value in its name is not of the annotated
                type, or the guard failed.

        """
        route, worker = self._route, self._worker
        if not route.guards:
            worker.log_unguarded(route.pattern.text)
            return
        found = route.guard(room)
        if found is None:
            raise ProtocolError("forbidden", "this room cannot be joined")
        guard, texts = found
        values = guard.read(texts)
        try:
            await worker.call(guard.callback, self._socket, room, **values)
        except (Reject, Disconnect):
            raise
        except AdapterError:
            raise ProtocolError("unavailable", UNAVAILABLE) from None
        except Exception as exc:
            connection = self._connection
            logger.exception(
                "the guard of room %r on %s raised",
                room,
                connection.path,
                extra=self._log_extra(room=room),
            )
            raise ProtocolError("internal", worker.describe_error(exc)) from None

    async def make_card(self, room: str) -> Present | None:
        """Return the card for a room with presence; None if the socket is not to be shown.

        Raises:
            Reject: by the app's function.
            Disconnect: by the app's function.
            ProtocolError: a value in the room's name is not of the annotated type, the function
                failed, or the card is invalid.

        """
        found = self._route.card_maker(room)
        if found is None:
            return None
        maker, texts = found
        values = maker.read(texts)
        worker = self._worker
        try:
            card = await worker.call(maker.callback, self._socket, room, **values)
            return read_card(card, worker.hub.json_default)
        except (Reject, Disconnect):
            raise
        except AdapterError:
            raise ProtocolError("unavailable", UNAVAILABLE) from None
        except Exception as exc:
            logger.exception(
                "the card for room %r on %s could not be made",
                room,
                self._connection.path,
                extra=self._log_extra(room=room),
            )
            raise ProtocolError("internal", worker.describe_error(exc)) from None

    async def run_hook(self, name: str, *args: Any) -> None:
        """Run the path's hook `(emitter, ...)`, if there is one; answer what it raises."""
        hooks = self._route.hooks.get(name)
        if hooks is not None:
            await self.run(self._call_in_turn(hooks, self.emitter(), *args), name=name)

    async def _call_in_turn(self, hooks: Iterable[Callback], *args: Any) -> None:
        for hook in hooks:
            await self._worker.call(hook, *args)

    async def run_logged_hook(self, name: str, *args: Any) -> None:
        """Run all functions of the path's hook, each with a time limit; only log what they raise.

        If this task is cancelled from outside, the others still run, and then it raises.
        """
        cancelled: asyncio.CancelledError | None = None
        for hook in self._route.hooks.get(name, ()):
            try:
                await self._worker.call_with_limit(hook, *args)
            except BaseException as exc:
                if raised_by_app(exc):
                    self._log_failure(name, exc)
                elif isinstance(exc, asyncio.CancelledError):
                    cancelled = exc
                else:
                    raise
        if cancelled is not None:
            raise cancelled

    async def run(
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
            await self.answer_exception(exc, event, id, name)

    async def answer_exception(
        self, exc: BaseException, event: str | None, id: str | int | None, name: str = ""
    ) -> None:
        """Answer what the app's code raised; raises `exc` if the app did not raise it."""
        if isinstance(exc, (ProtocolError, Reject)):
            if self._worker.debug and isinstance(exc, Reject):
                self._warn_undeclared(exc.code, event)
            if exc.data is not None:
                await self._answer_with_data(exc, event, id, name)
            else:
                self.send_error(exc.code, exc.detail, event, id)
        elif isinstance(exc, Disconnect):
            self._connection.close(exc.code, exc.reason)
        elif raised_by_app(exc):
            await self._answer_failure(exc, name or f"the handler of {event!r}", event, id)
        else:
            raise exc

    def _warn_undeclared(self, code: str, event: str | None) -> None:
        handler = self._route.handlers.get(event or "")
        if handler is not None and handler.declared.raises and code not in handler.declared.raises:
            self._worker.log_undeclared(self._route.pattern.text, str(event), code)

    async def _answer_with_data(
        self, error: ProtocolError | Reject, event: str | None, id: str | int | None, name: str
    ) -> None:
        default = self._worker.hub.json_default
        try:
            payload = protocol.encode_error(
                error.code, error.detail, event, id, error.data, default
            )
        except Exception as exc:  # JSON has no form for the data, or json_default raised
            await self.answer_exception(exc, event, id, name)
        else:
            self._worker.hub.counters.error(error.code)
            self._connection.write(PreparedFrame(payload))

    async def _answer_failure(
        self, exc: BaseException, name: str, event: str | None, id: str | int | None
    ) -> None:
        unavailable = isinstance(exc, AdapterError)
        hooks = self._route.hooks.get("on_error")
        if hooks is None and unavailable:
            extra = self._log_extra(event=event)
            self._worker.log_unavailable(f"{name} on {self._connection.path}", exc, extra)
        elif hooks is None:
            self._log_failure(name, exc, event)
        else:
            await self.run_logged_hook("on_error", self.emitter(event), exc)
        if unavailable:
            self.send_error("unavailable", UNAVAILABLE, event, id)
        else:
            self.send_error("internal", self._worker.describe_error(exc), event, id)

    def _log_extra(self, *, room: str = "", event: str | None = None) -> dict[str, str]:
        connection = self._connection
        return about(path=connection.path, room=room, event=event or "", socket_id=connection.id)

    def _log_failure(self, name: str, exc: BaseException, event: str | None = None) -> None:
        connection = self._connection
        extra = self._log_extra(event=event)
        logger.error("%s on %s raised", name, connection.path, exc_info=exc, extra=extra)

    def answer_timeout(self, event: str | None, id: str | int | None) -> None:
        """Answer a frame whose handling was cancelled because it took too long."""
        connection = self._connection
        logger.warning(
            "the handler of %r on %s took too long",
            event,
            connection.path,
            extra=self._log_extra(event=event),
        )
        limit = self._worker.limits.handler_timeout
        self.send_error("timeout", f"it took longer than {limit:g} s", event, id)

    def reply(self, inbound: Inbound, message: Any, schema: Schema | None = None) -> None:
        """Send the `reply` to a frame that has an id, if it fits the schema.

        Raises:
            ValueError: it does not fit.

        Also raises what `protocol.encode` raises.
        """
        if inbound.id is not None:
            default = self._worker.hub.json_default
            payload = protocol.encode_reply(message, inbound.id, default)
            if schema is not None:
                check_payload(payload, schema, f"the reply to {inbound.event!r}")
            self._connection.write(PreparedFrame(payload))

    def send_error(self, code: str, detail: str, event: str | None, id: str | int | None) -> None:
        """Send an `error` frame."""
        self._worker.hub.counters.error(code)
        self._connection.write(PreparedFrame(protocol.encode_error(code, detail, event, id)))
