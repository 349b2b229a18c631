"""Publishing to Redis without hearing it."""

from __future__ import annotations

from typing import Any

from wsroom.adapters.redis.codec import Names
from wsroom.adapters.redis.failover import Sequencer
from wsroom.adapters.redis.network.link import Link
from wsroom.adapters.redis.network.servers import Servers
from wsroom.adapters.redis.network.url import read_topology
from wsroom.adapters.redis.scripts import Keeping, network_settings
from wsroom.timing import Timing


class Speaker:
    """A publisher's dealings with Redis, from its first emit to its close."""

    def __init__(self, source: Any, names: Names, keeping: Keeping, timing: Timing) -> None:
        servers = read_topology(source)
        settings = network_settings(
            names, keeping, sharded=servers.sharded, subscribes=False, timing=timing
        )
        self.links = Servers(servers, self, settings)
        self.sequencer = Sequencer(names, self.links)

    async def stop(self) -> None:
        """End the connections."""
        self.sequencer.stop()
        await self.links.stop()

    def connected(self, link: Link) -> None:
        """Send what waited for the connection, and tell what may be lost with the one before."""
        self.sequencer.came_up()

    def can_retry(self) -> None:
        """Send what the server refused for a passing reason."""
        self.sequencer.send_again()

    def disconnected(self, link: Link) -> None:
        """Nothing is heard from there."""

    def places_changed(self) -> None:
        """Nothing is heard from anywhere."""

    def subscribed(self, channel: str) -> None:
        """Nothing is subscribed."""

    def unsubscribed(self, channel: str, place: str) -> None:
        """Nothing was subscribed."""

    def received(self, channel: str, data: bytes) -> None:
        """Nothing is heard."""
