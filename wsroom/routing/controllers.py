"""Controllers: classes whose methods handle events. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches

from wsroom.errors import SetupError
from wsroom.routing.callbacks import HOOKS
from wsroom.routing.router import Router
from wsroom.routing.signatures import HandlerMethod


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
        self._check_names()
        return router

    def _check_names(self) -> None:
        # A hook with a typing error in its name would never run: on_conect, and nobody logs in.
        hooks = (*HOOKS, "on_join")
        marked = {name for name, _, _ in _marked(type(self))}
        for name in set(dir(type(self))) - {*hooks, *marked}:
            if name.startswith("_") or not callable(getattr(type(self), name)):
                continue
            if close := get_close_matches(name, hooks, 1, cutoff=0.85):
                raise SetupError(
                    f"{type(self).__name__}.{name} is not a hook: write {close[0]}, mark it with "
                    "@on(...), or give it another name"
                )


def on(event: str, *, concurrent: bool = False) -> Callable[[HandlerMethod], HandlerMethod]:
    """Mark a method of a `Controller` as the handler of `event`, and return it unchanged."""

    def mark(function: HandlerMethod) -> HandlerMethod:
        events = getattr(function, "_wsroom_events", ())
        function._wsroom_events = (*events, (event, concurrent))  # type: ignore[union-attr]
        return function

    return mark


def _marked(cls: type) -> Iterator[tuple[str, str, bool]]:
    for name in dir(cls):
        for event, concurrent in getattr(getattr(cls, name), "_wsroom_events", ()):
            yield name, event, concurrent
