"""Controllers: classes whose methods handle events. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsroom.routing.callbacks import HOOKS
from wsroom.routing.router import Function, Router


class Controller:
    """A class whose methods, marked with `on`, handle the events of one path.

    Methods named `on_connect`, `on_open`, `on_join`, `on_joined`, `on_left`, `on_disconnect` and
    `on_error` are its hooks (`on_join` guards every room). `app.include(ChatController())`.
    """

    path: str = "/ws"
    """The WebSocket path of all its methods."""

    def router(self) -> Router:
        """Return a Router with the marked methods and the hooks; raises what a Router raises."""
        router = Router(self.path)
        for name, event, concurrent in _marked(type(self)):
            router.add_handler(event, getattr(self, name), concurrent=concurrent)
        for hook in HOOKS:
            if hasattr(self, hook):
                router.add_hook(hook, getattr(self, hook))
        if hasattr(self, "on_join"):
            router.add_guard(self.on_join)
        return router


def on(event: str, *, concurrent: bool = False) -> Callable[[Function], Function]:
    """Mark a method of a `Controller` as the handler of `event`, and return it unchanged."""

    def mark(function: Function) -> Function:
        events = getattr(function, "_wsroom_events", ())
        function._wsroom_events = (*events, (event, concurrent))  # type: ignore[attr-defined]
        return function

    return mark


def _marked(cls: type) -> Iterator[tuple[str, str, bool]]:
    for name in dir(cls):
        for event, concurrent in getattr(getattr(cls, name), "_wsroom_events", ()):
            yield name, event, concurrent
