"""Headers, cookies, path and origin of a handshake's ASGI scope. No I/O and no asyncio here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from wsroom.asgi.types import Scope
from wsroom.errors import SetupError

# With the sentence around it, it fits into a close reason.
_ORDINARY = re.compile(r"[A-Za-z0-9+.-]{1,20}://[A-Za-z0-9_.:\[\]-]{1,68}")

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Headers(Mapping[str, str]):
    """Request headers by case-insensitive name; repeated headers are joined by commas."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in raw:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            # RFC 9110, section 5.3; for cookies RFC 6265, section 5.4.
            comma = "; " if key == "cookie" else ", "
            self._values[key] = self._values[key] + comma + text if key in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


def read_query(scope: Scope) -> dict[str, str]:
    """Parse the query string; if a name occurs twice, the last value counts."""
    query: bytes = scope.get("query_string", b"")
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def read_cookies(headers: Headers) -> dict[str, str]:
    """Parse the cookies; if a name occurs twice, the first value counts.

    Browsers send the cookie with the longer path first (RFC 6265, section 5.4).
    """
    cookies: dict[str, str] = {}
    for pair in headers.get("cookie", "").split(";"):
        name, sign, value = pair.strip().partition("=")
        if sign and name.strip():
            cookies.setdefault(name.strip(), value.strip().strip('"'))
    return cookies


def app_path(scope: Scope) -> str:
    """Return the path without `root_path`, under which the app is mounted.

    ASGI's `path` should include `root_path`, but not every server includes it.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :] or "/"
    return path


def server_of(scope: Scope) -> dict[str, str]:
    """Return the server of an HTTP request as AsyncAPI describes the one of its WebSockets."""
    host, port = scope.get("server") or ("localhost", None)
    address = f"[{host}]" if ":" in host else host
    server = {
        "host": Headers(scope["headers"]).get("host") or (f"{address}:{port}" if port else host),
        "protocol": "wss" if scope.get("scheme") == "https" else "ws",
    }
    root = scope.get("root_path", "").rstrip("/")
    return {**server, "pathname": root} if root else server


class Origins:
    """The origins whose pages may open a WebSocket.

    A browser sends the page's origin. Without this check, a page of another site could act with
    the user's cookies (RFC 6455, section 10.2).

    Args:
        allowed: origins such as "https://example.com" besides the server's own host; "*" is all.

    Raises:
        SetupError: an entry is not a valid origin.

    """

    def __init__(self, allowed: Iterable[str] | None = None) -> None:
        if isinstance(allowed, str):
            raise SetupError(f"origins is {allowed!r}; give a list, such as [{allowed!r}]")
        entries = list(allowed or ())
        self._any = "*" in entries
        self._allowed = {_origin(entry) for entry in entries if entry != "*"}

    def allow(self, headers: Headers) -> bool:
        """Whether a handshake is allowed; without an Origin header it does not come from a page."""
        value = headers.get("origin")
        if value is None or self._any:
            return True
        try:
            origin = _origin(value)
        except SetupError:
            return False
        scheme, host, port = origin
        return origin in self._allowed or _same_host(headers.get("host", ""), scheme, host, port)


def origins_advice(origin: str) -> str | None:
    """Return what to add to the app so that pages of `origin` may connect.

    None if it is not an ordinary origin: the text of a stranger must not get into a close reason
    unless it is short and has no special character.
    """
    if _ORDINARY.fullmatch(origin) is None:
        return None
    try:
        _origin(origin)
    except SetupError:
        return None
    return f'add origins=["{origin}"] to WSRoom()'


def _origin(text: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(text.lower())
        whole = f"{parts.scheme}://{parts.netloc}" == text.lower()
        if whole and parts.hostname and parts.username is None and "*" not in parts.netloc:
            return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        pass  # an unmatched bracket or an invalid port; raised below, like other invalid texts
    raise SetupError(f'origin {text!r} must look like "https://example.com" or be "*"')


def _same_host(header: str, scheme: str, host: str, port: int) -> bool:
    # The Host header has no scheme; without a port it means the default port of the page's scheme.
    try:
        parts = urlsplit(f"{scheme}://{header}")
        own_port = parts.port or _DEFAULT_PORTS.get(scheme, 0)
    except ValueError:
        return False
    return (parts.hostname, own_port) == (host, port)
