"""Which Redis server has a channel and its keys, and how to connect to it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)

# redis-py's defaults would repeat a write whose answer is late, which doubles it, and reconnect
# silently, which hides a gap.
OVERRIDES: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
}

# For the connections on which redis-py itself asks Sentinels and the nodes of a cluster.
DISCOVERY_OPTIONS: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


T = TypeVar("T")
Connector = Callable[..., AbstractConnection]


class UnsuitableServer(ConnectionError):
    """This server cannot be used: not the master, or too old."""


class ServerConnection:
    """A connection to one server, and what INFO says about that server."""

    def __init__(self, connection: AbstractConnection, info: dict[str, str]) -> None:
        self.connection = connection
        self.run_id = info["run_id"]
        """Names the server process; a restarted server has another one."""
        self.address = f"{getattr(connection, 'host', '')}:{getattr(connection, 'port', '')}"
        valkey = info.get("valkey_version")
        self.version = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    async def close(self) -> None:
        """Close the connection; never fails."""
        try:
            await self.connection.disconnect(nowait=True)
        except RedisError:
            return


class Topology(ABC):
    """Maps channels to places, and places to servers.

    A *place* is the role of a server, such as the master of some slots: its name stays the same
    when another server takes the role over.
    """

    sharded: bool = False
    """Whether there are several places, and channels are sharded over them."""
    fails_over: bool = False
    """Whether another server may take a place over, without the last messages of the former one."""

    def __init__(self, url: str) -> None:
        self.url = url
        """For logs and errors: without a password."""

    async def refresh(self) -> None:
        """Find the places; raises RedisError or OSError if they cannot be found."""
        return

    def place(self, channel: str) -> str | None:
        """Return the place of a channel and its keys; None if no server has it now."""
        return ""

    def places(self) -> set[str]:
        """Return all places."""
        return {""}

    def moved(self, place: str, address: str) -> bool:
        """Return whether `refresh` has found another server than `address` at this place."""
        return False

    async def connect(self, place: str, timeout: float) -> ServerConnection:
        """Connect to the server that has this place now, within `timeout` seconds.

        Raises:
            RedisError, OSError, TimeoutError: it cannot be reached, or is unsuitable.

        """
        async with asyncio.timeout(timeout):
            make, options = await self._find(place)
            options = {**options, **OVERRIDES, "socket_connect_timeout": timeout}
            connection = make(**options)
            connection.retry = Retry(NoBackoff(), 0)
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                info = await _ask_info(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        return ServerConnection(connection, info)

    @abstractmethod
    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        """Return the class of connections to the server that has this place, and their options."""

    async def close(self) -> None:
        """Close the connections that are used to find places."""
        return


async def _ask_info(connection: AbstractConnection) -> dict[str, str]:
    info: dict[str, str] = {}
    for section in ("server", "replication"):
        await connection.send_command("INFO", section)
        answer = await connection.read_response()
        lines = answer.decode(errors="replace").splitlines()
        info.update(line.split(":", 1) for line in lines if ":" in line)
    if int(info.get("redis_version", "0").split(".")[0]) < 7:
        raise UnsuitableServer(f"its version is {info.get('redis_version')}; wsroom needs 7.0")
    if not info.get("run_id"):
        raise UnsuitableServer("its INFO has no run_id")
    if info.get("role") != "master":
        raise UnsuitableServer("it is a replica, or a failover has not ended yet")
    return info


class SingleServer(Topology):
    """One server, at a fixed address."""

    def __init__(self, url: str, pool: ConnectionPool) -> None:
        super().__init__(url)
        self._pool = pool

    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        return self._pool.connection_class, self._pool.connection_kwargs


class SentinelTopology(Topology):
    """The server that the Sentinels report as the master."""

    fails_over = True

    def __init__(self, url: str, sentinel: Sentinel, master: str, pool: ConnectionPool) -> None:
        super().__init__(url)
        self._sentinel = sentinel
        self._master = master
        # Connections of a client's own pool ask the Sentinels by themselves.
        tls = issubclass(pool.connection_class, SSLConnection)
        self._class = SSLConnection if tls else Connection
        self._kwargs = {**pool.connection_kwargs}
        self._kwargs.pop("connection_pool", None)
        self._address: tuple[str, int] = "", 0

    async def refresh(self) -> None:
        host, port = await _cancellable(self._sentinel.discover_master(self._master))
        self._address = host, port

    def moved(self, place: str, address: str) -> bool:
        return address != "{}:{}".format(*self._address)

    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        await self.refresh()
        host, port = self._address
        return self._class, {**self._kwargs, "host": host, "port": port}

    async def close(self) -> None:
        await self._sentinel.aclose()


class ClusterTopology(Topology):
    """A Redis Cluster; its places are the addresses of its masters."""

    sharded = True
    fails_over = True

    def __init__(self, url: str, client: RedisCluster, *, owns_client: bool) -> None:
        super().__init__(url)
        self._client = client
        self._owns_client = owns_client
        self._initialized = False

    async def refresh(self) -> None:
        try:
            if self._initialized:
                await _cancellable(self._client.nodes_manager.initialize())
            else:
                await _cancellable(self._client.initialize())
                self._initialized = True
        except RedisClusterException as exc:  # it is not a RedisError
            raise ConnectionError(str(exc)) from exc

    def place(self, channel: str) -> str | None:
        nodes = self._client.nodes_manager
        try:
            name: str = nodes.get_node_from_slot(self._client.keyslot(channel)).name
        except SlotNotCoveredError:
            return None
        return name

    def places(self) -> set[str]:
        return {node.name for node in self._client.get_primaries()}

    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        node = self._client.nodes_manager.get_node(node_name=place)
        if node is None:
            raise UnsuitableServer(f"{place} is not part of the cluster any more")
        return node.connection_class, node.connection_kwargs

    async def close(self) -> None:
        if self._owns_client:
            await self._client.aclose()
            self._initialized = False


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    # With a `socket_timeout` redis-py uses `asyncio.wait_for`, which up to Python 3.11 loses a
    # cancellation that arrives together with the answer (bpo-37658): a timeout would never end.
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        task.add_done_callback(_retrieve_exception)
        raise
    return task.result()


def _retrieve_exception(task: asyncio.Task[Any]) -> BaseException | None:
    # asyncio logs exceptions that are never retrieved; here no caller waits for the task any more.
    return None if task.cancelled() else task.exception()
