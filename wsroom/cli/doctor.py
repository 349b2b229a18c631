"""What would go wrong in production: `wsroom doctor`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol, runtime_checkable

from wsroom.cli.apps import Part, load_parts
from wsroom.errors import AdapterError, SetupError
from wsroom.timing import DEFAULT_TIMING

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"

UVICORN = (0, 52, 1)
"""The first whose keepalive and close behave as docs/design.md describes."""


@runtime_checkable
class HasServers(Protocol):
    """An adapter with servers: RedisAdapter, which is not imported for an app without it."""

    async def check_servers(self) -> str: ...


class Finding(NamedTuple):
    """One line of the report."""

    level: str
    subject: str
    text: str


def examine(target: str, flags: Sequence[str]) -> list[Finding]:
    """Look at an app as `uvicorn TARGET FLAGS` would serve it.

    Raises:
        SetupError: there is no such app, or uvicorn has no such flags.

    """
    params = read_flags(target, flags)
    parts = load_parts(target)
    findings = [*_app(target, parts), *_libraries(params), *_workers(parts, params)]
    findings += asyncio.run(_brokers(parts))
    return [*findings, *_flags(parts, params)]


def report(findings: Sequence[Finding]) -> str:
    """The findings as text."""
    widths = [max(len(finding[column]) for finding in findings) for column in range(2)]
    return "\n".join(
        f"{level.ljust(widths[0])}  {subject.ljust(widths[1])}  {text}"
        for level, subject, text in findings
    )


def read_flags(target: str, flags: Sequence[str]) -> Mapping[str, Any]:
    """What uvicorn makes of its flags, its UVICORN_* variables and WEB_CONCURRENCY.

    Raises:
        SetupError: uvicorn has no such flags.

    """
    import click  # uvicorn's own
    from uvicorn.main import main as uvicorn

    try:
        params = dict(uvicorn.make_context("uvicorn", [target, *flags]).params)
    except click.exceptions.Exit:
        raise SetupError(f"{' '.join(flags)}: give only flags with which it serves") from None
    except click.ClickException as exc:
        raise SetupError(f"uvicorn: {exc.format_message()}") from None
    counted = os.environ.get("WEB_CONCURRENCY", "")
    if params["workers"] is None and counted.isdigit():
        params["workers"] = int(counted)
    params["forwarded_allow_ips"] = params["forwarded_allow_ips"] or os.environ.get(
        "FORWARDED_ALLOW_IPS"
    )
    return params


def _app(target: str, parts: Sequence[Part]) -> Iterator[Finding]:
    paths = [
        part.mount + route.pattern.text
        for part in parts
        for route in part.app.router()._routes.values()
    ]
    if paths:
        yield Finding(OK, "app", f"{target} serves WebSockets on {', '.join(paths)}")
    else:
        yield Finding(PROBLEM, "app", f'{target} has no event; write one: @app.on("say")')


def _libraries(params: Mapping[str, Any]) -> Iterator[Finding]:
    uvicorn = version("uvicorn")
    if _numbers(uvicorn) < UVICORN:
        least = ".".join(map(str, UVICORN))
        yield Finding(PROBLEM, "uvicorn", f"{uvicorn} is too old: pip install 'uvicorn>={least}'")
    else:
        yield Finding(OK, "uvicorn", uvicorn)
    ws = params["ws"]
    if ws == "none":
        yield Finding(PROBLEM, "--ws none", "no WebSocket is served; leave it out")
        return
    name = "wsproto" if ws == "wsproto" else "websockets"
    try:
        yield Finding(OK, "WebSocket library", f"{name} {version(name)}")
    except PackageNotFoundError:
        advice = "wsproto" if ws == "wsproto" else "'uvicorn[standard]'"
        yield Finding(PROBLEM, "WebSocket library", f"{name} is missing: pip install {advice}")
    if ws == "websockets":
        text = "deprecated in uvicorn, and slower here; use --ws auto"
        yield Finding(WARNING, "--ws websockets", text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _workers(parts: Sequence[Part], params: Mapping[str, Any]) -> Iterator[Finding]:
    count = 1 if params["reload"] else params["workers"] or 1
    for part in parts:
        name = type(part.app._adapter).__name__
        if part.app._adapter.shared:
            yield Finding(OK, "workers", f"{count}, and {name} connects any number")
        elif count == 1:
            yield Finding(OK, "workers", f"1, which is all that {name} serves")
        else:
            text = (
                f"{count}, but the rooms of {name} are in the memory of each: the start is "
                "refused. Set WSROOM_REDIS_URL=redis://host:6379, or run one worker"
            )
            yield Finding(PROBLEM, "workers", text)


async def _brokers(parts: Sequence[Part]) -> list[Finding]:
    adapters = {id(part.app._adapter): part.app._adapter for part in parts}.values()
    return [await _broker(adapter) for adapter in adapters if isinstance(adapter, HasServers)]


async def _broker(adapter: HasServers) -> Finding:
    try:
        return Finding(OK, "redis", await adapter.check_servers())
    except AdapterError as exc:
        return Finding(PROBLEM, "redis", str(exc))


def _flags(parts: Sequence[Part], params: Mapping[str, Any]) -> Iterator[Finding]:
    frame_size = max(part.app._limits.frame_size for part in parts)
    for name, risky, text in (
        (
            "ws_max_size",
            lambda value: value < frame_size,
            f"larger frames close the connection with 1009, before Limits.frame_size={frame_size} "
            "can answer them with `too_large`",
        ),
        (
            "ws_ping_interval",
            lambda value: value <= 0,
            "nobody notices clients that vanished; they stay in their rooms",
        ),
        (
            "ws_ping_timeout",
            lambda value: value <= 0 < params["ws_ping_interval"],
            "every client is closed at its first ping",
        ),
        (
            "interface",
            lambda value: value in ("wsgi", "asgi2"),
            "wsroom is ASGI 3; leave it out",
        ),
        (
            "lifespan",
            lambda value: value == "off",
            "the app starts with its first connection only, and its own lifespan= is not run",
        ),
        (
            "timeout_graceful_shutdown",
            lambda value: value is not None and value < DEFAULT_TIMING.grace,
            f"handlers at work when the server stops have {DEFAULT_TIMING.grace:g} s; this is less",
        ),
        (
            "limit_max_requests",
            lambda value: value is not None,
            "after so many HTTP requests, health checks too, all sockets of the worker are closed",
        ),
        (
            "limit_concurrency",
            lambda value: value is not None,
            "each open socket counts: with so many, HTTP requests, health checks too, get 503",
        ),
        (
            "forwarded_allow_ips",
            lambda value: value == "*" and params["proxy_headers"],
            "whoever reaches the server chooses its socket.client; name the proxy's address",
        ),
        (
            "reload",
            lambda value: value,
            "for development: each changed file closes all sockets",
        ),
    ):
        value = params[name]
        if risky(value):
            level = PROBLEM if name in ("interface", "ws_ping_timeout") else WARNING
            shown = "" if value is True else f" {value:g}" if type(value) is float else f" {value}"
            yield Finding(level, f"--{name.replace('_', '-')}{shown}", text)
