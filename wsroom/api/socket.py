"""The socket that handlers and hooks get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from wsroom.api.user import User, WithUser
from wsroom.asgi.handshake import Headers, read_cookies, read_query
from wsroom.asgi.types import Scope
from wsroom.delivery.frames import PreparedFrame
from wsroom.errors import SetupError


class SocketConnection(Protocol):
    """What a Socket needs of the connection behind it."""

    id: str
    path: str
    path_params: dict[str, Any]
    scope: Scope
    user: Any

    @property
    def rooms(self) -> frozenset[str]: ...
    @property
    def write(self) -> Callable[[PreparedFrame], None]: ...
    async def join(self, *rooms: str) -> None: ...
    async def leave(self, *rooms: str) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    async def update_presence(self, room: str, values: Mapping[str, Any]) -> None: ...
    def session_hash(self) -> str: ...


class SocketInfo(WithUser[User]):
    """The properties of one connection; `Socket` and `BlockingSocket` add the methods."""

    __slots__ = ("_connection", "state")

    def __init__(self, connection: SocketConnection, state: dict[str, Any]) -> None:
        self._connection = connection
        self.state = state
        """The app's own data about this connection, such as a name; it ends with the connection."""

    @property
    def id(self) -> str:
        """The socket's id, made by the server; a room of one for `to()`. It is no secret."""
        return self._connection.id

    @property
    def path(self) -> str:
        """The concrete path, without the prefix that the app is mounted under."""
        return self._connection.path

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The values of the path's parameters: strings, unless `WSRoom.path` gave them a type."""
        return self._connection.path_params

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in; in its last `on_left` and `on_disconnect`, those it was in."""
        return self._connection.rooms

    @property
    def headers(self) -> Headers:
        """The handshake's headers; names are case-insensitive."""
        return Headers(self._connection.scope["headers"])

    @property
    def query(self) -> Mapping[str, str]:
        """The values in the handshake's query string."""
        return read_query(self._connection.scope)

    @property
    def cookies(self) -> Mapping[str, str]:
        """The handshake's cookies."""
        return read_cookies(self.headers)

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address and port; None if the server does not know them."""
        client = self._connection.scope.get("client")
        return (client[0], client[1]) if client else None

    @property
    def user(self) -> User:
        """Who connected: the last value that an `on_connect` function returned, except None.

        Without one it is the `user` of the ASGI scope, which a middleware around the app may have
        set; else None. `Socket[User]` and `Emitter[User]` have its type.
        """
        found: Any = self._connection.user
        if found is None:
            found = self._connection.scope.get("user")
        user: User = found  # the app knows its type
        return user

    @property
    def session(self) -> Mapping[str, Any]:
        """The session of the handshake, which Starlette's SessionMiddleware read from its cookie.

        The middleware stores no change: a WebSocket sets no cookie. It has nothing to do with the
        `session` of the frame `connected`.

        Raises:
            SetupError: there is no such middleware around the app.

        """
        session: Mapping[str, Any] | None = self._connection.scope.get("session")
        if session is None:
            raise SetupError(
                "socket.session needs a middleware that sets the session of the ASGI scope; "
                "wrap the app in Starlette's SessionMiddleware"
            )
        return session

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope of the handshake, read-only."""
        return MappingProxyType(self._connection.scope)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} on {self.path}>"


class Socket(SocketInfo[User]):
    """One connection, in `async def` handlers and hooks."""

    __slots__ = ()

    async def join(self, *rooms: str) -> None:
        """Join rooms. On return, this socket is sure to get everything emitted to them later.

        The client gets `joinedRoom`, except for rooms joined in `on_connect`: `connected` has them.
        Unlike the client's `joinRoom` it calls no guard. Joining twice does nothing; a socket
        whose connection is over joins nothing.

        Raises:
            ValueError: the name of a room is invalid, or the socket is in too many rooms.
            AdapterError: the broker did not confirm, or the room was left meanwhile.

        """
        await self._connection.join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Leave rooms; leaving a room that it is not in does nothing. The client gets `leftRoom`.

        It counts while a guard decides about the client's `joinRoom`, or while the broker confirms
        it: that join then fails, with the code `left`.
        """
        await self._connection.leave(*rooms)

    async def update_presence(self, room: str, values: Mapping[str, Any]) -> None:
        """Change this socket's card in a room with presence: `{"typing": True}`.

        The keys of `values` are merged into the card; None removes one. It does nothing if the
        socket is not in the room, or is not shown there.

        Raises:
            ValueError: `values` has an `id`, which is fixed, or the card would be over 1 KiB.
            TypeError: JSON has no form for a value.
            AdapterError: the broker did not confirm; the change is made later.

        """
        await self._connection.update_presence(room, values)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, after frames that were written before; does not wait for the peer.

        Raises:
            ValueError: the code must not be sent, or the reason is over 123 bytes.

        """
        self._connection.close(code, reason)
