"""Checking an app for production: `wsroom doctor`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol, runtime_checkable

from wsroom.adapters import Adapter
from wsroom.cli.apps import load_parts
from wsroom.cli.rules import FLAG_RULES, OK, PROBLEM, RULES, Setup
from wsroom.errors import AdapterError, SetupError


class Finding(NamedTuple):
    """One line of the report."""

    level: str
    subject: str
    text: str


def examine(target: str, flags: Sequence[str]) -> list[Finding]:
    """Examine an app as `uvicorn TARGET FLAGS` would serve it.

    Raises:
        SetupError: there is no such app, or uvicorn has no such flags.

    """
    setup = read_setup(target, flags)
    servers = asyncio.run(_check_servers(setup.adapters))
    return [*_apply(setup), *servers, *_apply_to_flags(setup)]


def report(findings: Sequence[Finding]) -> str:
    """Format the findings in columns."""
    widths = [max(len(finding[column]) for finding in findings) for column in range(2)]
    return "\n".join(
        f"{level.ljust(widths[0])}  {subject.ljust(widths[1])}  {text}"
        for level, subject, text in findings
    )


def read_setup(target: str, flags: Sequence[str]) -> Setup:
    """Load the app, and read uvicorn's flags and the versions of libraries.

    Raises:
        SetupError: there is no such app, or uvicorn has no such flags.

    """
    params = read_flags(target, flags)
    parts = load_parts(target)
    registered = [
        (part.mount + found.path, found)
        for part in parts
        for found in part.app.registrations()
        if found.kind != "page"
    ]
    paths = list(dict.fromkeys(path for path, _ in registered))
    authenticated = {
        path for path, found in registered if (found.kind, found.name) == ("hook", "on_connect")
    }
    ws = params["ws"]
    library = {"none": "", "wsproto": "wsproto"}.get(ws, "websockets")
    return Setup(
        target=target,
        paths=", ".join(paths),
        open_paths=", ".join(path for path in paths if authenticated and path not in authenticated),
        adapters=tuple({id(part.app.adapter): part.app.adapter for part in parts}.values()),
        frame_size=max(part.app.limits.frame_size for part in parts),
        flags=params,
        workers=1 if params["reload"] else params["workers"] or 1,
        uvicorn=version("uvicorn"),
        library=library,
        library_version=_version(library),
        library_package="wsproto" if library == "wsproto" else "'uvicorn[standard]'",
        line_limit=_line_limit() if ws in ("auto", "websockets-sansio") else 0,
        local=_is_local(params),
    )


def read_flags(target: str, flags: Sequence[str]) -> Mapping[str, Any]:
    """Return uvicorn's parameters, from its flags, UVICORN_* variables and WEB_CONCURRENCY.

    Raises:
        SetupError: uvicorn has no such flags.

    """
    import click  # uvicorn's own
    from uvicorn.main import main as uvicorn

    try:
        params = dict(uvicorn.make_context("uvicorn", [target, *flags]).params)
    except click.exceptions.Exit:
        raise SetupError(f"{' '.join(flags)}: give only flags for serving") from None
    except click.ClickException as exc:
        raise SetupError(f"uvicorn: {exc.format_message()}") from None
    counted = os.environ.get("WEB_CONCURRENCY", "")
    if params["workers"] is None and counted.isdigit():
        params["workers"] = int(counted)
    params["forwarded_allow_ips"] = params["forwarded_allow_ips"] or os.environ.get(
        "FORWARDED_ALLOW_IPS"
    )
    return params


def _version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


def _line_limit() -> int:
    # websockets' variable for it, and its default.
    value = os.environ.get("WEBSOCKETS_MAX_LINE_LENGTH", "")
    return int(value) if value.isdigit() else 8192


def _is_local(params: Mapping[str, Any]) -> bool:
    if params["uds"] is not None or params["fd"] is not None:
        return params["uds"] is not None
    try:
        return ip_address(params["host"]).is_loopback
    except ValueError:
        return bool(params["host"] == "localhost")


def _apply(setup: Setup) -> Iterator[Finding]:
    decided = set()
    for rule in RULES:
        if rule.subject not in decided and rule.applies(setup):
            decided.add(rule.subject)
            yield Finding(rule.level, rule.subject, _format(rule.text, setup))


def _apply_to_flags(setup: Setup) -> Iterator[Finding]:
    for rule in FLAG_RULES:
        value = setup.flags[rule.flag]
        if rule.risky(value, setup):
            shown = "" if value is True else f" {value:g}" if type(value) is float else f" {value}"
            subject = f"--{rule.flag.replace('_', '-')}{shown}"
            yield Finding(rule.level, subject, _format(rule.text, setup))


def _format(text: str, setup: Setup) -> str:
    return text.format(adapter_name=type(setup.adapter).__name__, **vars(setup))


@runtime_checkable
class HasServers(Protocol):
    """An adapter with servers: RedisAdapter, which is not imported for an app without it."""

    async def check_servers(self) -> str: ...


async def _check_servers(adapters: Sequence[Adapter]) -> list[Finding]:
    return [await _check(adapter) for adapter in adapters if isinstance(adapter, HasServers)]


async def _check(adapter: HasServers) -> Finding:
    try:
        return Finding(OK, "redis", await adapter.check_servers())
    except AdapterError as exc:
        return Finding(PROBLEM, "redis", str(exc))
