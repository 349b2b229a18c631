"""Routers: registering functions, and finding the route of a path. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from wsroom.errors import SetupError
from wsroom.functions import name_of, signature_of, takes
from wsroom.routing.callbacks import Callback, Guard, Handler, Registration, event_rate
from wsroom.routing.hooks import Hooks
from wsroom.routing.patterns import Pattern
from wsroom.routing.presence import CardMaker
from wsroom.routing.registry import check_name
from wsroom.routing.route import ANY
from wsroom.routing.signatures import (
    CardFunction,
    GuardFunction,
    HandlerFunction,
    PageFunction,
)
from wsroom.schema.declared import server_event
from wsroom.schema.parameters import parameter_of

if TYPE_CHECKING:
    from wsroom.routing.signatures import RateKey


class Part(Protocol):
    """Something that `include` accepts: a Router, or an object that makes one."""

    def router(self) -> Router: ...


class Router(Hooks):
    """Handlers, guards, hooks, middleware and pages for an app, for apps of several files.

    It has the app's decorators; `app.include(router)` copies its registrations.

    Args:
        path: the WebSocket path of registrations that give none.

    """

    def __init__(self, path: str = "/ws") -> None:
        super().__init__(path)
        self.pages: dict[str, Callback] = {}
        """The functions of pages, by path."""

    # -- decorators, and the methods that do the same ----------------------------------------

    def on(
        self,
        event: str,
        *,
        path: str | None = None,
        concurrent: bool = False,
        raises: Mapping[str, str] | None = None,
        rate: str | None = None,
        rate_key: RateKey | None = None,
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Handle `event` on `path` with the decorated function, which is returned unchanged.

        The function takes `(emitter)` or `(emitter, message)`; `async def` runs on the event loop,
        `def` in a thread with a `BlockingEmitter`. One handler at a time runs for a socket, in the
        order of arrival; with `concurrent=True` the socket's next frames do not wait for this one
        (up to 32 run for a socket). The return value answers a frame that has an `id`.

        The annotation of `message` is checked: a message that does not fit is answered with the
        code `invalid_message`, and the function is not called.

        Args:
            event: the name, or "*" for every event without a handler.
            path: the WebSocket path; `{name}` in it matches one segment.
            concurrent: whether the socket's next frames are handled while this handler runs.
            raises: the codes with which the function rejects, and a sentence about each: for
                readers, and for documents that are made from the app.
            rate: how often a client may send it: "10/s", "5/min" or "100/h". As many are allowed at
                once; one more is answered with `rate_limited`, and the function is not called.
            rate_key: a function that gets the socket and returns whose rate it is, such as the id
                of its user; None is the socket's own. Sockets of this worker with equal keys share
                the rate.

        Raises:
            SetupError: the event is already handled or reserved, the function takes other
                arguments, an annotation cannot be resolved or checked, or the rate is invalid.

        """
        check_name("event", event, '@app.on("intro")')

        def register(function: HandlerFunction) -> HandlerFunction:
            self.add_handler(
                event,
                function,
                path=path,
                concurrent=concurrent,
                raises=raises,
                rate=rate,
                rate_key=rate_key,
            )
            return function

        return register

    def add_handler(
        self,
        event: str,
        function: HandlerFunction,
        *,
        path: str | None = None,
        concurrent: bool = False,
        raises: Mapping[str, str] | None = None,
        rate: str | None = None,
        rate_key: RateKey | None = None,
    ) -> None:
        """Do what `@on(event)` does, without a decorator."""
        route = self._route(path, "on")
        self._check_event(event, '@app.on("intro")')
        limit = event_rate(rate, rate_key)
        route.add_handler(event, Handler.of(event, function, concurrent, raises, limit))

    def emits(
        self, event: str, message: object = None, *, path: str | None = None, doc: str = ""
    ) -> None:
        """Declare an event that the app emits on `path`, and the type of its messages.

        It is for readers, and for documents that are made from the app. In debug mode, emitting a
        message of another type raises ValueError.

        Args:
            event: its name.
            message: a type; None for no message, `object` for any.
            path: the WebSocket path.
            doc: a sentence about it.

        Raises:
            SetupError: the event is declared with another type, or reserved, or the type has no
                JSON schema.

        """
        route = self._route(path, "emits")
        self._check_event(event, 'app.emits("said", str)')
        route.add_emit(event, server_event(event, message, doc))

    def path(self, path: str, /, **types: object) -> None:
        """Give parameters of a path their types: `app.path("/t/{tenant}", tenant=int)`.

        A handshake whose path has another value is refused with 404. `socket.path_params` has the
        values of these types.

        Args:
            path: a path with parameters.
            types: for each name, str, int, UUID or a Literal.

        Raises:
            SetupError: there is no such parameter, or it has another type already.

        """
        route = self._route(path, "path")
        if unknown := set(types) - set(route.pattern.names):
            raise SetupError(f"path {path!r} has no parameter {{{unknown.pop()}}}")
        named = {name: f"{{{name}}} of {path!r}" for name in types}
        route.add_parameters({name: parameter_of(types[name], named[name]) for name in types})

    def on_join(
        self, room: str = ANY, *, path: str | None = None, replay: int | None = None
    ) -> Callable[[GuardFunction], GuardFunction]:
        """Call `(socket, room)` before a client joins a room; raise `Reject` to refuse.

        `room` is a name, a pattern like "order:{id}" whose values the function may take as
        arguments, or "*". One guard decides: the exact name before patterns, patterns before "*".
        Once a path has a guard, rooms without one are refused. Joins of the app (`socket.join`)
        are not guarded.

        A client that joins may ask for up to `replay` earlier messages of the room: none if it is
        0, and `Limits.replay` of them if it is None.
        """
        check_name("room", room, "@app.on_join() with parentheses")
        self._route(path, "on_join")

        def register(function: GuardFunction) -> GuardFunction:
            self.add_guard(function, room, path=path, replay=replay)
            return function

        return register

    def add_guard(
        self,
        function: GuardFunction,
        room: str = ANY,
        *,
        path: str | None = None,
        replay: int | None = None,
    ) -> None:
        """Do what `@on_join(room)` does, without a decorator."""
        route = self._route(path, "on_join")
        check_name("room", room, "@app.on_join() with parentheses")
        route.add_guard(Guard.of(function, Pattern(room, ":"), replay))

    def presence(
        self, room: str = ANY, *, path: str | None = None, grace: float = 5.0
    ) -> Callable[[CardFunction], CardFunction]:
        """Show the members of `room` to each other: `(socket, room)` returns a socket's card.

        A card is an object with an `id`, a string or an integer, of at most 1 KiB as JSON. Sockets
        with the same `id` are one member; with None a socket is in the room, and is not shown.
        `room` is a name, a pattern like "board:{id}" whose values the function may take as
        arguments, or "*"; one function is called for a room, as with guards.

        The function is called at each join, by the client or by the app, after the guard; for rooms
        that `on_connect` joins, after it. If it raises, or the card is invalid, the socket does not
        join, and the answer is `internal`.

        Args:
            room: the rooms.
            path: the WebSocket path.
            grace: seconds for which a member stays if its connection is lost; it leaves at once if
                it leaves the room or closes.

        Raises:
            SetupError: the rooms have presence already, the path has an event `presence` or
                `members`, or the function takes other arguments.

        """
        check_name("room", room, "@app.presence() with parentheses")
        self._route(path, "presence")

        def register(function: CardFunction) -> CardFunction:
            self.add_presence(function, room, path=path, grace=grace)
            return function

        return register

    def add_presence(
        self,
        function: Callable[..., object],
        room: str = ANY,
        *,
        path: str | None = None,
        grace: float = 5.0,
    ) -> None:
        """Do what `@presence(room)` does, without a decorator."""
        route = self._route(path, "presence")
        check_name("room", room, "@app.presence() with parentheses")
        route.add_card_maker(CardMaker.of(function, Pattern(room, ":"), grace))

    def page(self, path: str) -> Callable[[PageFunction], PageFunction]:
        """Serve the HTML, a string, that the decorated function returns, at `path` over HTTP."""

        def register(function: PageFunction) -> PageFunction:
            self.add_page(path, function)
            return function

        return register

    def add_page(self, path: str, function: PageFunction) -> None:
        """Do what `@page(path)` does, without a decorator."""
        self._check_open()
        if not isinstance(path, str) or not path.startswith("/"):
            raise SetupError(f'a page\'s path {path!r} must begin with "/"')
        if path in self.pages:
            raise SetupError(f"a page is already at {path!r}; use another path")
        if not takes(signature_of(function), 0):
            raise SetupError(
                f"{name_of(function)} cannot be a page; it is called without arguments"
            )
        self.pages[path] = Callback.of(function)

    # -- including routers -----------------------------------------------------------------

    def include(self, *parts: Part) -> None:
        """Copy what routers and controllers have registered into this one.

        Their hooks and middleware of the path "*" are called on their own paths only, after those
        of this router.

        Raises:
            SetupError: something is registered twice, `parts` has another object, or a router has
                only hooks or middleware of "*", and no path to call them on.

        """
        for part in parts:
            if isinstance(part, type) or not hasattr(part, "router"):
                raise SetupError(f"cannot include {part!r}; give a Router() or a Controller()")
            router = part.router()
            if router._routes.every_path and not router._routes:
                raise SetupError(
                    "the router has hooks or middleware of every path, but no path; "
                    "register them on the app"
                )
            router._frozen = "it has been included"
            for route in router._routes:
                for event in (*route.handlers, *route.emits):
                    self._check_event(event, "")
                self._route(route.pattern.text, "include").include(route)
            for path, callback in router.pages.items():
                self.add_page(path, callback.function)

    def router(self) -> Router:
        """Return itself; `include` calls this method of each part."""
        return self

    def registrations(self) -> tuple[Registration, ...]:
        """Return what is registered: pages, then for each path what is called on it.

        These are its hooks, guards, presence, middleware and events, each in the order of the
        calls. What was registered for the path "*" is listed with every path.
        """
        pages = [Registration(p, "page", "", page.function) for p, page in self.pages.items()]
        return (*pages, *(found for route in self._routes for found in route.registrations()))
