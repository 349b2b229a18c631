"""The types of the user's functions, so that type checkers refuse a wrong one in its decorator.

They name the classes of `wsroom.api`, which is above this folder. So only type checkers import
them here, and no other file of this folder does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar

if TYPE_CHECKING:
    from wsroom.api.blocking import BlockingEmitter, BlockingSocket
    from wsroom.api.emitter import Emitter
    from wsroom.api.socket import Socket

    # `async def` gets an Emitter or a Socket, and `def` the blocking one. So a `def` function that
    # asks for an Emitter is in neither line of its union. An `async def` function that asks for a
    # BlockingEmitter is in one of them, since a coroutine is an object: registration refuses it.

    AnyHandler = (
        Callable[[Emitter[Any]], Awaitable[object]]
        | Callable[[Emitter[Any], Any], Awaitable[object]]
        | Callable[[BlockingEmitter[Any]], object]
        | Callable[[BlockingEmitter[Any], Any], object]
    )
    AnyMethod = (
        Callable[[Any, Emitter[Any]], Awaitable[object]]
        | Callable[[Any, Emitter[Any], Any], Awaitable[object]]
        | Callable[[Any, BlockingEmitter[Any]], object]
        | Callable[[Any, BlockingEmitter[Any], Any], object]
    )
    AnyConnectHook = (
        Callable[Concatenate[Socket[Any], ...], Awaitable[object]]
        | Callable[Concatenate[BlockingSocket[Any], ...], object]
    )
    AnyOpenHook = (
        Callable[[Emitter[Any]], Awaitable[object]] | Callable[[BlockingEmitter[Any]], object]
    )
    AnyRoomHook = (
        Callable[[Emitter[Any], str], Awaitable[object]]
        | Callable[[BlockingEmitter[Any], str], object]
    )
    AnyDisconnectHook = (
        Callable[[Socket[Any], int], Awaitable[object]]
        | Callable[[BlockingSocket[Any], int], object]
    )
    AnyErrorHook = (
        Callable[[Emitter[Any], Exception], Awaitable[object]]
        | Callable[[BlockingEmitter[Any], Exception], object]
    )
    AnyGuard = (
        Callable[Concatenate[Socket[Any], str, ...], Awaitable[object]]
        | Callable[Concatenate[BlockingSocket[Any], str, ...], object]
    )
    AnyCardFunction = (
        Callable[Concatenate[Socket[Any], str, ...], Awaitable[object]]
        | Callable[Concatenate[BlockingSocket[Any], str, ...], object]
    )
    AnyMiddleware = Callable[
        [Emitter[Any], Any, Callable[[Any], Awaitable[Any]]], Awaitable[object]
    ]
    RateKey = Callable[[Socket[Any]], Hashable]
    AnyPage = Callable[[], str] | Callable[[], Awaitable[str]]

HandlerFunction = TypeVar("HandlerFunction", bound="AnyHandler")
HandlerMethod = TypeVar("HandlerMethod", bound="AnyMethod")
ConnectHook = TypeVar("ConnectHook", bound="AnyConnectHook")
OpenHook = TypeVar("OpenHook", bound="AnyOpenHook")
RoomHook = TypeVar("RoomHook", bound="AnyRoomHook")
DisconnectHook = TypeVar("DisconnectHook", bound="AnyDisconnectHook")
ErrorHook = TypeVar("ErrorHook", bound="AnyErrorHook")
GuardFunction = TypeVar("GuardFunction", bound="AnyGuard")
CardFunction = TypeVar("CardFunction", bound="AnyCardFunction")
MiddlewareFunction = TypeVar("MiddlewareFunction", bound="AnyMiddleware")
PageFunction = TypeVar("PageFunction", bound="AnyPage")
