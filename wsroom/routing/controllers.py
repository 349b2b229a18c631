"""Controllers: classes whose methods handle events. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from wsroom.errors import SetupError
from wsroom.routing.callbacks import HOOKS
from wsroom.routing.router import Router
from wsroom.routing.signatures import HandlerMethod

if TYPE_CHECKING:
    from wsroom.routing.signatures import RateKey


class Controller:
    """A class whose methods, marked with `on`, handle the events of one path.

    Methods named `on_connect`, `on_open`, `on_join`, `on_joined`, `on_left`, `on_disconnect` and
    `on_error` are its hooks (`on_join` guards every room). `app.include(ChatController())`.
    """

    path: str = "/ws"
    """The WebSocket path of all its methods."""

    def emits(self, event: str, message: object = None, *, doc: str = "") -> None:
        """Declare an event that it emits: in `__init__`, or before it is included.

        Does what `Router.emits` does, when it is included.
        """
        # No __init__ of ours: a subclass need not call it.
        self.__dict__.setdefault("_emits", []).append((event, message, doc))

    def router(self) -> Router:
        """Return a Router with the marked methods and the hooks; raises what a Router raises."""
        router = Router(self.path)
        for name, mark in _marked(type(self)):
            function = getattr(self, name)
            router.add_handler(mark.event, function, **mark.options)
        for event, message, doc in self.__dict__.get("_emits", ()):
            router.emits(event, message, doc=doc)
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
        marked = {name for name, _ in _marked(type(self))}
        for name in set(dir(type(self))) - {*hooks, *marked}:
            if name.startswith("_") or not callable(getattr(type(self), name)):
                continue
            if close := get_close_matches(name, hooks, 1, cutoff=0.85):
                raise SetupError(
                    f"{type(self).__name__}.{name} is not a hook: write {close[0]}, mark it with "
                    "@on(...), or give it another name"
                )


class _Mark(NamedTuple):
    event: str
    options: dict[str, Any]


def on(
    event: str,
    *,
    concurrent: bool = False,
    raises: Mapping[str, str] | None = None,
    rate: str | None = None,
    rate_key: RateKey | None = None,
) -> Callable[[HandlerMethod], HandlerMethod]:
    """Mark a method of a `Controller` as the handler of `event`, and return it unchanged.

    The arguments are those of `Router.on`.
    """

    options = {"concurrent": concurrent, "raises": raises, "rate": rate, "rate_key": rate_key}

    def mark(function: HandlerMethod) -> HandlerMethod:
        marks = getattr(function, "_wsroom_events", ())
        function._wsroom_events = (*marks, _Mark(event, options))  # type: ignore[union-attr]
        return function

    return mark


def _marked(cls: type) -> Iterator[tuple[str, _Mark]]:
    for name in dir(cls):
        for mark in getattr(getattr(cls, name), "_wsroom_events", ()):
            yield name, mark
