"""The rules of `wsroom doctor`: what is wrong or risky in the way an app is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from wsroom.adapters import Adapter
from wsroom.timing import DEFAULT_TIMING

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """An app, and how `uvicorn TARGET FLAGS` would serve it: the facts that rules test."""

    target: str
    paths: str
    open_paths: str
    """The paths without an `on_connect`, if others have one."""
    adapters: tuple[Adapter, ...]
    frame_size: int
    flags: Mapping[str, Any]
    workers: int
    uvicorn: str
    library: str
    """The WebSocket library that uvicorn would use; "" if none."""
    library_version: str
    """Its version; "" if it is missing."""
    library_package: str
    """The package that installs it."""
    line_limit: int
    """The longest line of a handshake, in bytes, that uvicorn answers; 0 if it answers all."""
    local: bool
    """Whether only this machine reaches the server, such as a proxy on it."""
    oldest_uvicorn: str = "0.52.1"
    """The first version whose keepalive and close behave as docs/design.md describes."""
    grace: float = DEFAULT_TIMING.grace

    @property
    def adapter(self) -> Adapter:
        """The adapter that decides about the number of workers: the first that is not shared."""
        return min(self.adapters, key=lambda adapter: adapter.shared)


class Rule(NamedTuple):
    """A line of the report about a subject: the first that applies of all its rules."""

    subject: str
    level: str
    applies: Callable[[Setup], bool]
    text: str
    """With the setup's fields in braces."""


class FlagRule(NamedTuple):
    """A line of the report about a flag of uvicorn, if its value is risky."""

    flag: str
    level: str
    risky: Callable[[Any, Setup], bool]
    text: str
    """With the setup's fields in braces."""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _always(setup: Setup) -> bool:
    return True


def _is(*values: str) -> Callable[[Any, Setup], bool]:
    return lambda value, setup: value in values


def _is_set(value: Any, setup: Setup) -> bool:
    return value not in (None, False)


_LONG_LINES = (
    "uvicorn does not answer a handshake with a line over {line_limit} bytes, such as a large "
    "cookie: limit headers to that in a proxy in front, or raise WEBSOCKETS_MAX_LINE_LENGTH"
)
_HALF_SENT = (
    "uvicorn holds one until the client ends it: limit the time for a request's headers in a "
    "proxy in front"
)

RULES = (
    Rule("app", PROBLEM, lambda s: not s.paths, '{target} has no event; write one: @app.on("say")'),
    Rule("app", OK, _always, "{target} serves WebSockets on {paths}"),
    Rule(
        "authentication",
        WARNING,
        lambda s: s.open_paths != "",
        "other paths have an on_connect, but anybody may connect to {open_paths}; "
        '@app.on_connect(path="*") is for every path',
    ),
    Rule(
        "uvicorn",
        PROBLEM,
        lambda s: _numbers(s.uvicorn) < _numbers(s.oldest_uvicorn),
        "{uvicorn} is too old: pip install 'uvicorn>={oldest_uvicorn}'",
    ),
    Rule("uvicorn", OK, _always, "{uvicorn}"),
    Rule(
        "WebSocket library",
        PROBLEM,
        lambda s: s.library_version == "" != s.library,
        "{library} is missing: pip install {library_package}",
    ),
    Rule("WebSocket library", OK, lambda s: s.library != "", "{library} {library_version}"),
    Rule("long header", OK, lambda s: s.line_limit > 0 and s.local, _LONG_LINES),
    Rule("long header", WARNING, lambda s: s.line_limit > 0, _LONG_LINES),
    Rule("half-sent handshake", OK, lambda s: s.local, _HALF_SENT),
    Rule("half-sent handshake", WARNING, _always, _HALF_SENT),
    Rule(
        "workers",
        OK,
        lambda s: s.adapter.shared,
        "{workers}, and {adapter_name} connects any number",
    ),
    Rule("workers", OK, lambda s: s.workers == 1, "1, which is all that {adapter_name} serves"),
    Rule(
        "workers",
        PROBLEM,
        _always,
        "{workers}, but the rooms of {adapter_name} are in the memory of each: the start is "
        "refused (of a mounted app: each socket). Set WSROOM_REDIS_URL=redis://host:6379, or run "
        "one worker",
    ),
)

FLAG_RULES = (
    FlagRule("ws", PROBLEM, _is("none"), "no WebSocket is served; leave it out"),
    FlagRule(
        "ws", WARNING, _is("websockets"), "deprecated in uvicorn, and slower here; use --ws auto"
    ),
    FlagRule(
        "ws_max_size",
        WARNING,
        lambda value, s: value < s.frame_size,
        "larger frames close the connection with 1009, before Limits.frame_size={frame_size} "
        "can answer them with `too_large`",
    ),
    FlagRule(
        "ws_ping_interval",
        WARNING,
        lambda value, s: value <= 0,
        "clients that vanished are not noticed; they stay in their rooms",
    ),
    FlagRule(
        "ws_ping_timeout",
        PROBLEM,
        lambda value, s: value <= 0 < s.flags["ws_ping_interval"],
        "every client is closed at its first ping",
    ),
    FlagRule("interface", PROBLEM, _is("wsgi", "asgi2"), "wsroom is ASGI 3; leave it out"),
    FlagRule(
        "lifespan",
        WARNING,
        _is("off"),
        "the app starts with its first connection only, and its own lifespan= is not run",
    ),
    FlagRule(
        "timeout_graceful_shutdown",
        WARNING,
        lambda value, s: value is not None and value < s.grace,
        "running handlers have {grace:g} s when the server stops; this is less",
    ),
    FlagRule(
        "limit_max_requests",
        WARNING,
        _is_set,
        "after so many HTTP requests, health checks too, all sockets of the worker are closed",
    ),
    FlagRule(
        "limit_concurrency",
        WARNING,
        _is_set,
        "each open socket counts: with so many, HTTP requests, health checks too, get 503",
    ),
    FlagRule(
        "forwarded_allow_ips",
        WARNING,
        lambda value, s: value == "*" and s.flags["proxy_headers"],
        "any client that reaches the server chooses its socket.client; name the proxy's address",
    ),
    FlagRule("reload", WARNING, _is_set, "for development: each changed file closes all sockets"),
)
