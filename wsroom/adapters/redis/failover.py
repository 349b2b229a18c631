"""Notifying rooms of emissions that a failover may have lost."""

from __future__ import annotations

import asyncio
from functools import partial

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.sender import PendingPublish, Sender
from wsroom.wire.emission import RESYNC, Emission, Room

MOST_ROOMS = 10_000
"""The most rooms whose last emission is remembered."""


class FailoverNotices:
    """Remembers which server accepted each room's last emission, and notifies the room if needed.

    Replication is asynchronous: emissions that a master accepted shortly before it was replaced, or
    afterwards, may be missing on the new master. The room then gets an emission of the kind RESYNC.
    """

    def __init__(self, names: RedisNames, servers: Servers) -> None:
        self._names = names
        self._servers = servers
        self._loop = asyncio.get_running_loop()  # to get it takes a system call in Python 3.11
        # A publisher of its own: its emissions go ahead of waiting ones that have lower numbers.
        self._sender = Sender(servers)
        self._accepted: dict[Room, tuple[str, float]] = {}
        """The server (run_id) that accepted the last emission, and when; the latest is the last."""
        self._last_accepted: dict[str, float] = {}
        """When each server accepted its last emission."""
        self._notifying: set[Room] = set()

    def remember(self, room: Room, run_id: str) -> None:
        """Note that a server has accepted an emission of the room."""
        now = self._loop.time()
        self._last_accepted[run_id] = now
        self._accepted.pop(room, None)
        self._accepted[room] = run_id, now
        while len(self._accepted) > MOST_ROOMS or not self._may_be_lost(*self._oldest()):
            del self._accepted[next(iter(self._accepted))]

    def _oldest(self) -> tuple[str, float]:
        return next(iter(self._accepted.values()))

    def _may_be_lost(self, run_id: str, accepted_at: float) -> bool:
        # In a cluster, a master that is cut off from the others soon refuses writes. With Sentinel
        # it continues, and only the Sentinels know that it was replaced: all that it accepted since
        # they last confirmed it may be lost, however long ago that was.
        servers = self._servers
        known = self._last_accepted[run_id] if servers.sharded else servers.confirmed_at
        return accepted_at > known - servers.timing.doubtful

    def notify(self) -> None:
        """Notify the rooms whose server was replaced after it accepted their last emission."""
        now = self._loop.time()
        for room, (run_id, accepted_at) in self._accepted.items():
            channel = self._names.channel(room)
            link = self._servers.link_for(channel)
            replaced = link is not None and link.connected and link.run_id != run_id
            if replaced and self._may_be_lost(run_id, accepted_at) and room not in self._notifying:
                self._notifying.add(room)
                notice = self._sender.add(channel, Emission(room, b"", kind=RESYNC), now)
                notice.future.add_done_callback(partial(self._notified, room, notice))

    def _notified(self, room: Room, notice: PendingPublish, future: asyncio.Future[None]) -> None:
        self._sender.remove(notice)
        self._notifying.discard(room)
        if future.exception() is None:  # else it is sent again when a server connects
            self.remember(room, notice.run_id)

    def send_waiting(self) -> None:
        """Send the notices that wait, in order."""
        self._sender.send_waiting()

    def stop(self) -> None:
        """Send no more notices."""
        self._sender.stop()
