"""Reading where Redis is, from a URL or a client of redis-py."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from wsroom.adapters.redis.network.topology import (
    DISCOVERY_OPTIONS,
    ClusterTopology,
    SentinelTopology,
    SingleServer,
    Topology,
)
from wsroom.errors import SetupError


def read_topology(source: str | Redis | RedisCluster) -> Topology:
    """Read a URL, or where an asyncio client of redis-py connects to.

    Raises:
        SetupError: it is neither, or the URL is invalid.

    """
    if isinstance(source, RedisCluster):
        return ClusterTopology("the cluster of the given client", source, owns_client=False)
    if isinstance(source, Redis):
        return _from_pool("the server of the given client", source.connection_pool)
    if not isinstance(source, str):
        raise SetupError(f"{source!r} is neither a URL nor an asyncio client of redis-py")
    try:
        return _from_url(source)
    except (ValueError, TypeError) as exc:
        raise SetupError(
            f"{without_password(source)!r} is not a URL of Redis ({exc}); use redis://host:6379, "
            "rediss://, unix:///path, redis+sentinel://host:26379,host:26379/master "
            "or redis+cluster://host:6379"
        ) from exc


def _from_pool(url: str, pool: ConnectionPool) -> Topology:
    if isinstance(pool, SentinelConnectionPool):
        return SentinelTopology(url, pool.sentinel_manager, pool.service_name, pool)
    return SingleServer(url, pool)


def _from_url(url: str) -> Topology:
    name = without_password(url)
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if kind == "sentinel":
        return _from_sentinel_url(name, base, rest)
    if kind == "cluster":
        retry = Retry(NoBackoff(), 0)
        client = RedisCluster.from_url(f"{base}://{rest}", retry=retry, **DISCOVERY_OPTIONS)
        return ClusterTopology(name, client, owns_client=True)
    return SingleServer(name, ConnectionPool.from_url(url))


def _from_sentinel_url(name: str, scheme: str, rest: str) -> Topology:
    address, _, tail = rest.partition("/")
    path, _, query = tail.partition("?")
    master, _, db = path.partition("/")
    if not master:
        raise ValueError("the master's name is missing at the end")
    credentials, at, hosts = address.rpartition("@")
    # Credentials, database and options are for the master; the Sentinels report its address.
    pool: ConnectionPool = ConnectionPool.from_url(
        f"{scheme}://{credentials}{at}master/{db or 0}?{query}"
    )
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(host) for host in hosts.split(",")],
        sentinel_kwargs={**DISCOVERY_OPTIONS, "retry": Retry(NoBackoff(), 0)},
    )
    return SentinelTopology(name, sentinel, unquote(master), pool)


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is not a host")
    return parts.hostname, parts.port or 26379


def without_password(url: str) -> str:
    """Return the URL in a form that may be logged."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
