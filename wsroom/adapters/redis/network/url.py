"""Reading where Redis is: a URL, or a client of redis-py."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from wsroom.adapters.redis.network.topology import ASKING, Cluster, Sentinels, Single, Topology
from wsroom.errors import SetupError


def topology(source: str | Redis | RedisCluster) -> Topology:
    """Read a URL, or take redis-py's asyncio client as the description of where to connect.

    Raises:
        SetupError: it is neither, or the URL is none that is known.

    """
    if isinstance(source, RedisCluster):
        return Cluster("the cluster of the given client", source, own=False)
    if isinstance(source, Redis):
        return _of_pool("the server of the given client", source.connection_pool)
    if not isinstance(source, str):
        raise SetupError(f"{source!r} is no URL and no asyncio client of redis-py")
    try:
        return _of_url(source)
    except (ValueError, TypeError) as exc:
        raise SetupError(
            f"{without_password(source)!r} is no URL of Redis ({exc}); use redis://host:6379, "
            "rediss://, unix:///path, redis+sentinel://host:26379,host:26379/master "
            "or redis+cluster://host:6379"
        ) from exc


def _of_pool(url: str, pool: ConnectionPool) -> Topology:
    if isinstance(pool, SentinelConnectionPool):
        return Sentinels(url, pool.sentinel_manager, pool.service_name, pool)
    return Single(url, pool)


def _of_url(url: str) -> Topology:
    name = without_password(url)
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if kind == "sentinel":
        return _sentinels(name, base, rest)
    if kind == "cluster":
        retry = Retry(NoBackoff(), 0)
        client = RedisCluster.from_url(f"{base}://{rest}", retry=retry, **ASKING)
        return Cluster(name, client, own=True)
    return Single(name, ConnectionPool.from_url(url))


def _sentinels(name: str, scheme: str, rest: str) -> Topology:
    address, _, tail = rest.partition("/")
    path, _, query = tail.partition("?")
    master, _, db = path.partition("/")
    if not master:
        raise ValueError("the master's name is missing at its end")
    credentials, at, hosts = address.rpartition("@")
    # Credentials, database and options are the master's; its address comes from the Sentinels.
    pool: ConnectionPool = ConnectionPool.from_url(
        f"{scheme}://{credentials}{at}master/{db or 0}?{query}"
    )
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(host) for host in hosts.split(",")],
        sentinel_kwargs={**ASKING, "retry": Retry(NoBackoff(), 0)},
    )
    return Sentinels(name, sentinel, unquote(master), pool)


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return parts.hostname, parts.port or 26379


def without_password(url: str) -> str:
    """The URL as it may be shown in a log."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
