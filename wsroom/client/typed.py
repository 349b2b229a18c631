"""The parts of a socket's type that do not depend on its events.

The files that `wsroom types --python` writes import them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar

from wsroom.client.events import Events as Events
from wsroom.client.keeper import SocketState
from wsroom.errors import ConnectionLost

Message = TypeVar("Message")
Heard = TypeVar("Heard", covariant=True)  # what a parameter of a parameter is
Function = TypeVar("Function", bound=Callable[..., Any])

Listener: TypeAlias = (
    Callable[[], object]
    | Callable[[Message], object]
    | Callable[[Message, str | None], object]
    | Callable[[Message, str | None, str | None], object]
    | Callable[[Message, str | None, str | None, int | None], object]
)
"""A function that listens to an event: `(message, sender, room, time)`, or fewer of these."""

Builtin: TypeAlias = Literal["connected", "reply", "error", "resync", "joinedRoom", "leftRoom"]
"""The events of the protocol itself."""


class Registers(Protocol[Heard]):
    """A decorator that adds a listener of an event."""

    def __call__(self, function: Listener[Heard], /) -> object: ...


class TypedSocket(Protocol):
    """All of a `ClientSocket` except `emit`, `request`, `on`, `off` and `events`."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, exc_type: object, exc: object, traceback: object, /) -> None: ...
    async def open(self) -> None: ...
    async def close(self, code: int = 1000, reason: str = "") -> None: ...
    async def wait_closed(self) -> ConnectionLost: ...

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> SocketState: ...
    @property
    def rooms(self) -> frozenset[str]: ...
    @property
    def dropped(self) -> int: ...

    async def join_room(
        self,
        room: str,
        *,
        last: int | None = None,
        since: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]: ...
    async def leave_room(self, room: str, *, timeout: float | None = None) -> None: ...

    def __aiter__(self) -> Events: ...
    def on_open(self, function: Function) -> Function: ...
    def on_connected(self, function: Function) -> Function: ...
    def on_close(self, function: Function) -> Function: ...
    def on_error(self, function: Function) -> Function: ...
    def on_state(self, function: Function) -> Function: ...
    def on_resync(self, function: Function) -> Function: ...
