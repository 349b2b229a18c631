"""Registering handlers, guards, hooks and pages, and finding them again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

import wsroom
from wsroom import (
    BlockingEmitter,
    BlockingSocket,
    Controller,
    Emitter,
    RedisAdapter,
    Router,
    SetupError,
    Socket,
    WSRoom,
    on,
)
from wsroom.routing.patterns import Pattern


async def handler(emitter: Any, message: Any) -> None: ...
async def hook(emitter: Any) -> None: ...
def generator(emitter: Any) -> Any:
    yield


async def async_generator(emitter: Any) -> Any:
    yield


async def blocking(emitter: BlockingEmitter, message: Any) -> None: ...
async def blocking_guard(socket: BlockingSocket, room: str) -> None: ...
async def of_socket(socket: Socket[str]) -> None: ...
async def of_emitter(emitter: Emitter) -> None: ...
async def of_socket3(socket: Socket, message: Any, call: Any) -> None: ...


class Wrong(Controller):
    async def on_connect(self, emitter: Emitter) -> None: ...


def of_threads(emitter: wsroom.BlockingEmitter[int]) -> None: ...


@wraps(handler)
def wrapped(*args: Any) -> Any:
    return handler(*args)


async def guard(socket: Any, room: str) -> None: ...
async def middleware(emitter: Any, message: Any, call: Any) -> Any: ...


def found(router: Router, path: str) -> tuple[str, dict[str, str]] | None:
    result = router.find(path)
    return None if result is None else (result[0].pattern.text, result[1])


def test_fixed_paths_win_over_parameters() -> None:
    """The more specific path wins, in any order of registration."""
    router = Router()
    for path in ("/{a}/{b}", "/ws/{tenant}", "/{kind}/main", "/ws/main", "/ws", "/ws/v{n}"):
        router.add_handler("e", handler, path=path)
    assert found(router, "/ws/main") == ("/ws/main", {})
    assert found(router, "/ws/acme") == ("/ws/{tenant}", {"tenant": "acme"})
    assert found(router, "/ws/v2") == ("/ws/v{n}", {"n": "2"})
    assert found(router, "/x/main") == ("/{kind}/main", {"kind": "x"})
    assert found(router, "/x/y") == ("/{a}/{b}", {"a": "x", "b": "y"})
    assert found(router, "/ws") == ("/ws", {})
    assert found(router, "/ws/") is None
    assert found(router, "/ws/a/b") is None
    assert found(router, "/") is None
    assert found(router, "/ws/{}") == ("/ws/{tenant}", {"tenant": "{}"})


@pytest.mark.parametrize(
    "text, room, values",
    [
        ("order:{id}", "order:5", {"id": "5"}),
        ("order:{id}", "order:5:admin", None),
        ("order:{id}", "order:", None),
        ("order:{id}", "xorder:5", None),
        ("order:{id}", "order:5\n", {"id": "5\n"}),
        ("{a}:{b}", "x:y", {"a": "x", "b": "y"}),
        ("a.c", "abc", None),
        ("team-{id}", "team-\U0001f600", {"id": "\U0001f600"}),
    ],
)
def test_a_pattern_matches_the_whole_name(
    text: str, room: str, values: dict[str, str] | None
) -> None:
    """A parameter takes one part; every other sign stands for itself."""
    assert Pattern(text, ":").match(room) == values


@pytest.mark.parametrize("text", ["/{", "/}", "/{a}/{a}", "/{1}", "/{}", "/{a b}", "/{{a}}"])
def test_a_broken_pattern_is_a_setup_error(text: str) -> None:
    """The sentence quotes the pattern."""
    with pytest.raises(SetupError, match=r"\{|\}"):
        Pattern(text, "/")


def test_one_guard_decides_the_most_particular() -> None:
    """The exact name before patterns, patterns before "*"."""
    router = Router()
    for room in ("*", "order:{id}", "order:new", "{kind}:{id}"):
        router.add_guard(lambda socket, room, **values: values, room)
    found = router.find("/ws")
    assert found is not None
    route = found[0]

    def decider(room: str) -> tuple[str, dict[str, str]] | None:
        answer = route.guard(room)
        return answer and (answer[0].pattern.text, answer[1])

    assert decider("order:new") == ("order:new", {})
    assert decider("order:7") == ("order:{id}", {"id": "7"})
    assert decider("user:7") == ("{kind}:{id}", {"kind": "user", "id": "7"})
    assert decider("chat") == ("*", {})
    assert decider("*") == ("*", {})


class Callable_:
    async def __call__(self, emitter: Any) -> None: ...


class Methods:
    async def both(self, emitter: Any, message: Any) -> None: ...
    def only(self, emitter: Any) -> None: ...


@pytest.mark.parametrize(
    "function, wants_message, is_async",
    [
        (handler, True, True),
        (hook, False, True),
        (lambda emitter: None, False, False),
        (lambda emitter, message=None: None, True, False),
        (lambda *args: None, True, False),
        (partial(handler, message=1), False, True),
        (Callable_(), False, True),
        (partial(Callable_()), False, True),
        (wrapped, True, True),
        (Methods().both, True, True),
        (Methods().only, False, False),
    ],
)
def test_a_handler_takes_the_emitter_and_may_take_the_message(
    function: Callable[..., Any], wants_message: bool, is_async: bool
) -> None:
    """Functions, methods, partials and objects will do, with one argument or with two."""
    router = Router()
    router.add_handler("e", function)
    found = router.find("/ws")
    assert found is not None
    registered = found[0].handlers.get("e")
    assert registered is not None
    assert registered.wants_message is wants_message
    assert registered.callback.is_async is is_async


def test_decorators_return_the_function_untouched() -> None:
    """A decorated function can still be called and tested as it is."""
    router = Router()
    decorators = [
        router.on("e"),
        router.on_connect(),
        router.on_open(),
        router.on_disconnect(),
        router.on_error(),
        router.on_joined(),
        router.on_left(),
        router.on_join(),
        router.page("/"),
        router.on_connect(path="*"),
    ]

    def function(*args: Any) -> str:
        return "html"

    assert router.middleware()(middleware) is middleware
    for decorate in decorators:
        assert decorate(function) is function
    assert on("e")(function) is function


def wrong(router: Router) -> list[tuple[Callable[[], Any], str]]:
    """Each mistake, with a part of its sentence."""
    router.add_handler("taken", handler)
    router.add_hook("on_open", hook)
    router.add_guard(guard, "order:{id}")
    router.add_page("/", lambda: "")
    router.add_handler("e", handler, path="/t/{tenant}")
    everywhere = Router()
    everywhere.add_hook("on_open", hook, path="*")
    bare: Any = router
    return [
        (lambda: router.add_handler("taken", handler), "already handled on '/ws'; use another"),
        (lambda: router.add_handler("joinRoom", handler), "'joinRoom' is part of the protocol"),
        (lambda: router.add_handler("resync", handler), "'resync' is part of the protocol"),
        (lambda: router.add_handler("", handler), "is empty; use another name"),
        (lambda: router.add_handler("x" * 65, handler), "longer than 64 characters"),
        (lambda: router.add_handler("a\n", handler), "control character"),
        (lambda: bare.on(handler), "is not a string; write @app.on"),
        (lambda: bare.add_handler(5, handler), "event 5 is not a string"),
        (lambda: bare.add_handler("f", lambda: None), "takes (emitter) or (emitter, message)"),
        (lambda: bare.add_handler("f", lambda a, b, c: None), "takes (emitter) or"),
        (lambda: bare.add_handler("f", lambda *, emitter: None), "takes (emitter) or"),
        (lambda: bare.add_handler("f", 5), "5 is not a function"),
        (lambda: router.add_handler("f", generator), "is a generator; return or emit"),
        (lambda: router.add_handler("f", async_generator), "is a generator; return or emit"),
        (lambda: router.add_handler("f", blocking), "blocking gets Emitter as its first argument"),
        (
            lambda: router.add_guard(blocking_guard, "c"),
            "not BlockingSocket; change the annotation",
        ),
        (
            lambda: bare.add_handler("f", of_socket),
            "gets Emitter as its first argument, not Socket",
        ),
        (lambda: router.add_hook("on_connect", of_emitter), "gets Socket as its first argument"),
        (lambda: router.add_hook("on_connect", of_threads), "gets BlockingSocket as its first"),
        (lambda: bare.add_middleware(of_socket3), "gets Emitter as its first argument"),
        (lambda: router.include(Wrong()), "gets Socket as its first argument, not Emitter"),
        (lambda: router.add_hook("on_joined", hook), "it is called with (emitter, room)"),
        (lambda: router.add_hook("on_close", hook), "no hook 'on_close'; there are on_connect"),
        (lambda: bare.on_connect(hook), "write @app.on_connect() with parentheses"),
        (lambda: bare.middleware(middleware), "write @app.middleware() with parentheses"),
        (lambda: bare.add_middleware(handler), "it is called with (emitter, message, call)"),
        (lambda: bare.add_middleware(lambda *args: None), "write it with async def"),
        (lambda: router.add_middleware(middleware, path="ws"), "path 'ws' must begin with"),
        (lambda: router.add_hook("on_open", hook, path="ws"), "path 'ws' must begin with"),
        (lambda: router.add_handler("f", handler, path="*"), "give on one path"),
        (lambda: router.add_guard(guard, path="*"), "'*' is for hooks and middleware only"),
        (lambda: router.include(everywhere), "but no path; register them on the app"),
        (lambda: bare.on_join(guard), "write @app.on_join() with parentheses"),
        (lambda: router.add_guard(guard, "order:{number}"), "already guarded on '/ws'"),
        (lambda: router.add_guard(lambda socket, room, no: 0, "a:{id}"), "(socket, room, id)"),
        (lambda: bare.add_guard(lambda socket: 0, "b"), "it may take (socket, room)"),
        (lambda: router.add_page("/", lambda: ""), "a page is already at '/'"),
        (lambda: router.add_page("x", lambda: ""), "must begin with"),
        (lambda: bare.add_page("/x", lambda a: ""), "called without arguments"),
        (lambda: router.add_handler("e", handler, path="ws"), "path 'ws' must begin with"),
        (lambda: router.add_handler("f", handler, path="/t/{name}"), "same as '/t/{tenant}'"),
        (lambda: bare.include(Controller), "cannot include"),
        (lambda: bare.include("router"), "cannot include 'router'"),
    ]


@pytest.mark.parametrize("index", range(len(wrong(WSRoom()))))
def test_a_mistake_is_a_setup_error(index: int) -> None:
    """It is raised at once, is a ValueError too, and its sentence says what to do."""
    act, sentence = wrong(WSRoom())[index]
    with pytest.raises(SetupError) as caught:
        act()
    assert sentence in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_guard_may_ask_for_some_of_the_values() -> None:
    """A guard names the values that it wants, or takes all with **."""
    router = Router()
    router.add_guard(lambda socket, room, b: None, "{a}:{b}")
    found = router.find("/ws")
    assert found is not None
    decided = found[0].guard("x:y")
    assert decided is not None and decided[0].read(decided[1]) == {"b": "y"}


def test_routers_are_included_whole() -> None:
    """Handlers, hooks, guards and pages of a router serve in the app, on the router's path."""
    router = Router(path="/chat")
    router.add_handler("e", handler, concurrent=True)
    router.add_hook("on_open", hook)
    router.add_guard(guard, "a:{b}")
    router.add_page("/about", lambda: "")
    app = WSRoom()
    app.include(router, Router(path="/empty"))
    found = app.find("/chat")
    assert found is not None
    route = found[0]
    registered = route.handlers.get("e")
    assert registered is not None and registered.concurrent
    assert set(route.hooks) == {"on_open"} and set(route.guards) == {"a:{}"}
    with pytest.raises(SetupError, match="already at '/about'"):
        app.add_page("/about", lambda: "")
    with pytest.raises(SetupError, match="too late to register here: it has been included"):
        router.add_handler("f", handler)


def test_routers_that_claim_the_same_are_a_setup_error() -> None:
    """Two routers cannot handle one event of one path."""
    one, two = Router("/a"), Router("/a")
    one.add_handler("e", handler)
    two.add_handler("e", handler)
    app = WSRoom()
    with pytest.raises(SetupError, match="already handled on '/a'"):
        app.include(one, two)


class Chat(Controller):
    path = "/chat"

    def __init__(self) -> None:
        self.seen: list[str] = []

    @on("intro")
    @on("hello")
    async def greet(self, emitter: Any, message: Any) -> None: ...

    @on("slow", concurrent=True)
    async def slow(self, emitter: Any) -> None: ...

    async def on_open(self, emitter: Any) -> None: ...
    async def on_join(self, socket: Any, room: str) -> None: ...

    @property
    def surprise(self) -> None:
        raise AssertionError("a property was read")


def test_a_controller_is_a_router_in_a_class() -> None:
    """Marked methods are handlers, methods named like hooks are hooks; one may be marked twice."""
    router = Router()
    router.include(Chat())
    found = router.find("/chat")
    assert found is not None
    route = found[0]
    assert set(route.handlers) == {"intro", "hello", "slow"}
    assert route.handlers["slow"].concurrent and not route.handlers["intro"].concurrent
    assert set(route.hooks) == {"on_open"} and set(route.guards) == {"*"}


def test_a_controller_inherits_its_handlers() -> None:
    """A subclass serves its parent's events too, on its own path."""

    class Loud(Chat):
        path = "/loud"

    router = Router()
    router.include(Loud(), Chat())
    assert found(router, "/loud") == ("/loud", {}) and found(router, "/chat") == ("/chat", {})


def test_registrations_are_listed() -> None:
    """Pages, then the hooks, guards and events of each path, with the functions as given."""
    app = WSRoom()

    def page() -> str:
        return ""

    app.add_handler("*", handler)
    app.add_handler("say", handler, concurrent=True)
    app.add_guard(guard, "order:{id}")
    app.add_hook("on_open", hook)
    app.add_page("/", page)
    app.add_hook("on_open", hook, path="/t/{tenant}")
    assert app.registrations() == (
        ("/", "page", "", page, False),
        ("/ws", "hook", "on_open", hook, False),
        ("/ws", "guard", "order:{id}", guard, False),
        ("/ws", "event", "*", handler, False),
        ("/ws", "event", "say", handler, True),
        ("/t/{tenant}", "hook", "on_open", hook, False),
    )


def named(name: str) -> Callable[..., Any]:
    """A function for hooks and middleware that its name recognizes."""

    async def function(*args: Any) -> None: ...

    function.__name__ = name
    return function


def hooks(router: Router, path: str) -> list[str]:
    """The functions of `on_open` on a path, in the order of their calls."""
    result = router.find(path)
    assert result is not None
    return [callback.function.__name__ for callback in result[0].hooks.get("on_open", ())]


def test_hooks_of_every_path_come_before_the_paths_own() -> None:
    """In the order of registration, also for paths that are registered later."""
    router = Router()
    router.add_hook("on_open", named("a own"), path="/a")
    router.add_hook("on_open", named("first"), path="*")
    router.add_hook("on_open", named("second"), path="*")
    router.add_hook("on_open", named("a more"), path="/a")
    router.add_hook("on_open", named("b own"), path="/b")
    router.add_handler("e", handler, path="/c")
    assert hooks(router, "/a") == ["first", "second", "a own", "a more"]
    assert hooks(router, "/b") == ["first", "second", "b own"]
    assert hooks(router, "/c") == ["first", "second"]


def test_a_hook_of_every_path_makes_no_route() -> None:
    """A path that nothing else is registered on stays unknown."""
    router = Router()
    router.add_hook("on_connect", named("know"), path="*")
    router.add_middleware(middleware, path="*")
    assert router.find("/ws") is None and router.registrations() == ()


def test_a_routers_every_path_is_its_own_paths() -> None:
    """They come after the app's and before the path's own, however they are nested."""
    inner, outer, other, app = Router("/in"), Router("/out"), Router("/in"), WSRoom()
    app.add_hook("on_open", named("in own"), path="/in")
    for router, name in ((inner, "inner"), (outer, "outer"), (other, "other")):
        router.add_hook("on_open", named(f"{name} own"))
        router.add_hook("on_open", named(name), path="*")
    outer.include(inner)
    app.include(outer, other)
    app.add_handler("e", handler)
    app.add_hook("on_open", named("app"), path="*")
    assert hooks(app, "/in") == [
        *("app", "outer", "inner", "other"),
        *("in own", "inner own", "other own"),
    ]
    assert hooks(app, "/out") == ["app", "outer", "outer own"]
    assert hooks(app, "/ws") == ["app"]


def test_registrations_list_what_is_called_on_a_path() -> None:
    """Those of every path come with each path, in the order of the calls."""
    router = Router("/a")
    first, second, own = named("first"), named("second"), named("own")
    router.add_handler("e", handler)
    router.add_middleware(own)
    router.add_middleware(first, path="*")
    router.add_hook("on_connect", second)
    router.add_hook("on_connect", first, path="*")
    router.add_hook("on_open", hook, path="/b")
    assert router.registrations() == (
        ("/a", "hook", "on_connect", first, False),
        ("/a", "hook", "on_connect", second, False),
        ("/a", "middleware", "", first, False),
        ("/a", "middleware", "", own, False),
        ("/a", "event", "e", handler, False),
        ("/b", "hook", "on_connect", first, False),
        ("/b", "hook", "on_open", hook, False),
        ("/b", "middleware", "", first, False),
    )


@pytest.mark.parametrize("name", ["on_conect", "onconnect", "on_connected", "on_jion", "on_lefts"])
def test_a_typing_error_in_the_name_of_a_hook_is_refused(name: str) -> None:
    """A Controller's method that is nearly a hook would never be called: no authentication."""
    chat = type("Chat", (Controller,), {name: lambda self, socket: None})()
    with pytest.raises(SetupError, match=rf"Chat\.{name} is not a hook: write on_"):
        chat.router()


def test_other_names_of_methods_are_free() -> None:
    """Helpers, private methods, and handlers that are marked."""

    class Chat(Controller):
        connection = 5

        @on("connected_again")
        async def on_connected(self, emitter: Emitter) -> None: ...

        def _on_conect(self) -> None: ...
        def on_message(self) -> None: ...
        def join(self) -> None: ...

    (registration,) = Chat().router().registrations()
    assert registration.name == "connected_again"


@pytest.mark.parametrize("pattern", ["{room}", "a:{socket}"])
def test_a_guards_pattern_must_not_name_its_arguments(pattern: str) -> None:
    """The guard gets `room` already: the whole name."""
    with pytest.raises(SetupError, match="has the name of an argument of every guard"):
        Router().add_guard(lambda socket, room: None, pattern)


def test_arguments_of_another_type_are_refused() -> None:
    """At once, with what to use instead."""
    with pytest.raises(SetupError, match=r"limits is \{\}; use wsroom\.Limits"):
        WSRoom(limits={})  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="adapter is 5; use a URL of Redis or an Adapter"):
        WSRoom(5)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="http://x"):
        WSRoom("http://x")


def test_a_url_means_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes precedence over the environment."""
    monkeypatch.setenv("WSROOM_REDIS_URL", "not a URL")
    assert isinstance(WSRoom("redis://127.0.0.1:1").adapter, RedisAdapter)
