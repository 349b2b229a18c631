"""Subscriptions to channels on one server, and the messages that come through them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection

from wsroom.adapters.redis.network.commands import write_packed

CHANNELS_AT_ONCE = 500
"""The most channels in one command."""


class SubscriptionListener(Protocol):
    """What is notified about subscriptions and their messages."""

    def subscribed(self, channel: str) -> None:
        """The server has confirmed a subscription."""

    def unsubscribed(self, channel: str, place: str) -> None:
        """The server has ended the subscription of a sharded channel: its slot has moved."""

    def received(self, channel: str, data: bytes) -> None:
        """A message was published on a subscribed channel."""


class Subscriptions:
    """Subscribes to channels on a connection, and hands on their messages.

    Args:
        place: the name by which the listener knows the server.
        listener: gets the messages and confirmations.
        heartbeat_channel: subscribed to first; its messages go to `on_heartbeat` only.
        sharded: whether the channels are sharded channels of a cluster.

    """

    def __init__(
        self,
        place: str,
        listener: SubscriptionListener,
        *,
        heartbeat_channel: str,
        on_heartbeat: Callable[[], None],
        sharded: bool,
    ) -> None:
        self._place = place
        self._listener = listener
        self._heartbeat_channel = heartbeat_channel
        self._on_heartbeat = on_heartbeat
        self._sharded = sharded
        self._connection: AbstractConnection | None = None
        self._requests: list[tuple[str, str]] = []  # (command, channel), in order
        self._requested = asyncio.Event()
        self._ending = PendingUnsubscribes()

    def open(self, connection: AbstractConnection) -> None:
        """Use this connection from now on; nothing but the heartbeat is subscribed on it."""
        self._connection = connection
        self._request("SUBSCRIBE", self._heartbeat_channel)  # not sharded, in a cluster neither

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return the loops to run while the connection is open; if one ends, it is broken."""
        assert self._connection is not None
        return [self._read(self._connection), self._write(self._connection)]

    def close(self) -> None:
        """Forget the connection, and all subscriptions with it."""
        self._connection = None
        self._requests = []
        self._ending = PendingUnsubscribes()

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; the listener is notified when the server has confirmed."""
        self._request("SSUBSCRIBE" if self._sharded else "SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """End a subscription."""
        if self._sharded and self._connection is not None:
            self._ending.add(channel)
        self._request("SUNSUBSCRIBE" if self._sharded else "UNSUBSCRIBE", channel)

    def _request(self, command: str, channel: str) -> None:
        if self._connection is not None:
            self._requests.append((command, channel))
            self._requested.set()

    async def _write(self, connection: AbstractConnection) -> None:
        # One command cannot name sharded channels of different slots.
        most = 1 if self._sharded else CHANNELS_AT_ONCE
        while True:
            await self._requested.wait()
            self._requested.clear()
            requests, self._requests = self._requests, []
            packed = [pack_command(words) for words in merge_requests(requests, most)]
            if packed:
                await write_packed(connection, packed)

    async def _read(self, connection: AbstractConnection) -> None:
        listener = self._listener
        while True:
            kind, name, data, *_ = await connection.read_response(
                timeout=math.inf, disconnect_on_error=False
            )
            if kind in (b"message", b"smessage"):
                channel = name.decode(errors="replace")
                if channel == self._heartbeat_channel:
                    self._on_heartbeat()
                else:
                    listener.received(channel, data)
            elif kind in (b"subscribe", b"ssubscribe"):
                listener.subscribed(name.decode(errors="replace"))
            elif kind == b"sunsubscribe":
                channel = name.decode(errors="replace")
                if not self._ending.confirm(channel):
                    listener.unsubscribed(channel, self._place)


class PendingUnsubscribes:
    """Unsubscribes of sharded channels that the server has not confirmed yet.

    If a slot moves, the server ends its subscriptions with the same message as a confirmation.
    """

    def __init__(self) -> None:
        self._channels: Counter[str] = Counter()

    def add(self, channel: str) -> None:
        """Note that an unsubscribe is sent."""
        self._channels[channel] += 1

    def confirm(self, channel: str) -> bool:
        """Note that a subscription has ended; return whether an unsubscribe was sent."""
        if channel not in self._channels:
            return False
        self._channels[channel] -= 1
        if not self._channels[channel]:
            del self._channels[channel]
        return True


def merge_requests(requests: list[tuple[str, str]], most: int) -> Iterable[tuple[Any, ...]]:
    """Merge (command, channel) pairs, in order, into commands with up to `most` channels."""
    words: list[str] = []
    for command, channel in requests:
        if not words or words[0] != command or len(words) > most:
            if words:
                yield tuple(words)
            words = [command]
        words.append(channel)
    if words:
        yield tuple(words)
