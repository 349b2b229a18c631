"""Which Redis server a sequence lives on, and how to connect to it."""

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

# Ours instead of whatever redis-py has as defaults: it would repeat a write whose answer was late,
# which doubles it, and connect again without a word, which hides a gap.
OVERRIDES: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
}

# The same for the questions that redis-py asks itself, of Sentinels and of a cluster's nodes.
ASKING: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


Answer = TypeVar("Answer")
Connector = Callable[..., AbstractConnection]


class Unsuitable(ConnectionError):
    """This server cannot be used: not the master, or too old."""


class Server:
    """A connection to one server, and what that server said of itself."""

    def __init__(self, connection: AbstractConnection, info: dict[str, str]) -> None:
        self.connection = connection
        self.run_id = info["run_id"]
        """Names the process: another one, or the same started again, has another."""
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
    """Where sequences live. A *place* is a server's role: its name stays while servers change."""

    shards: bool = False
    """Whether there are several places, and channels are sharded over them."""
    fails_over: bool = False
    """Whether another server may take over, without the last messages of the one before."""

    def __init__(self, url: str) -> None:
        self.url = url
        """For people: without a password."""

    async def refresh(self) -> None:
        """Learn the places; raises RedisError where nobody can tell."""
        return

    def place(self, channel: str) -> str | None:
        """The place of a channel and its keys; None where nobody serves it now."""
        return ""

    def places(self) -> set[str]:
        """All places that there are."""
        return {""}

    def moved(self, place: str, address: str) -> bool:
        """Whether `refresh` has told that another server has this place now."""
        return False

    async def connect(self, place: str, timeout: float) -> Server:
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
        return Server(connection, info)

    @abstractmethod
    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        """Return the class of connections to the server that has this place, and its options."""

    async def close(self) -> None:
        """Close what asks for places."""
        return


async def _ask_info(connection: AbstractConnection) -> dict[str, str]:
    info: dict[str, str] = {}
    for section in ("server", "replication"):
        await connection.send_command("INFO", section)
        answer = await connection.read_response()
        lines = answer.decode(errors="replace").splitlines()
        info.update(line.split(":", 1) for line in lines if ":" in line)
    if int(info.get("redis_version", "0").split(".")[0]) < 7:
        raise Unsuitable(f"it is version {info.get('redis_version')}; wsroom needs 7.0")
    if not info.get("run_id"):
        raise Unsuitable("it does not say which server it is (INFO has no run_id)")
    if info.get("role") != "master":
        raise Unsuitable("it is a replica, or the failover has not ended yet")
    return info


class Single(Topology):
    """One server, at a fixed address."""

    def __init__(self, url: str, pool: ConnectionPool) -> None:
        super().__init__(url)
        self._pool = pool

    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        return self._pool.connection_class, self._pool.connection_kwargs


class Sentinels(Topology):
    """Whatever server the Sentinels call the master."""

    fails_over = True

    def __init__(self, url: str, sentinel: Sentinel, master: str, pool: ConnectionPool) -> None:
        super().__init__(url)
        self._sentinel = sentinel
        self._master = master
        # A client's own pool makes connections that ask the Sentinels by themselves.
        tls = issubclass(pool.connection_class, SSLConnection)
        self._class = SSLConnection if tls else Connection
        self._kwargs = {**pool.connection_kwargs}
        self._kwargs.pop("connection_pool", None)
        self._address: tuple[str, int] = "", 0

    async def refresh(self) -> None:
        host, port = await _asked(self._sentinel.discover_master(self._master))
        self._address = host, port

    def moved(self, place: str, address: str) -> bool:
        return address != "{}:{}".format(*self._address)

    async def _find(self, place: str) -> tuple[Connector, Mapping[str, Any]]:
        await self.refresh()
        host, port = self._address
        return self._class, {**self._kwargs, "host": host, "port": port}

    async def close(self) -> None:
        await self._sentinel.aclose()


class Cluster(Topology):
    """A Redis Cluster; its places are its masters' addresses."""

    shards = True
    fails_over = True

    def __init__(self, url: str, client: RedisCluster, *, own: bool) -> None:
        super().__init__(url)
        self._client = client
        self._own = own
        self._known = False

    async def refresh(self) -> None:
        try:
            if self._known:
                await _asked(self._client.nodes_manager.initialize())
            else:
                await _asked(self._client.initialize())
                self._known = True
        except RedisClusterException as exc:  # which is no RedisError
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
            raise Unsuitable(f"{place} is no part of the cluster any more")
        return node.connection_class, node.connection_kwargs

    async def close(self) -> None:
        if self._own:
            await self._client.aclose()
            self._known = False


async def _asked(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await a question that redis-py asks itself, so that it can be given up.

    With a `socket_timeout` redis-py waits by `asyncio.wait_for`, which up to Python 3.11 loses a
    cancellation that comes with the answer (bpo-37658): a timeout would never end a start.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        task.add_done_callback(failed)  # nobody waits for it any more
        raise
    return task.result()


def failed(task: asyncio.Task[Any]) -> bool:
    """Whether a task ended without a result; once asked, asyncio logs no more that nobody did."""
    return task.cancelled() or task.exception() is not None
