"""What the adapter connects to: URLs, passwords, TLS, Sentinel, clusters, redis-py's clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import trustme
from redis.asyncio.sentinel import Sentinel

from tests.support import brokers
from tests.support.adapters import assert_works, chat_app
from tests.support.brokers import Broker, Cluster, Replicated
from tests.support.clock import QUICK
from wsroom import RedisAdapter, SetupError
from wsroom.testing import TestClient


async def test_a_password_a_user_and_a_database(prefix: str) -> None:
    """In the URL, percent-encoded; the keys are in that database."""
    async with brokers.valkey(user="lisa on >p%40ss ~* &* +@all") as broker:
        address = f"127.0.0.1:{broker.port}/3"
        await assert_works(RedisAdapter(f"redis://lisa:p%2540ss@{address}", prefix=prefix))
        assert "db3" in await broker.info("keyspace")


async def test_a_wrong_password_is_a_clear_error(prefix: str) -> None:
    """The error does not contain the password."""
    async with brokers.valkey(user="lisa on >secret ~* &* +@all") as broker:
        url = f"redis://lisa:wrong@127.0.0.1:{broker.port}"
        adapter = RedisAdapter(url, prefix=prefix, _timing=QUICK)
        with pytest.raises(SetupError, match=r"did not start.*cannot be used") as failure:
            async with TestClient(chat_app(adapter)):
                raise AssertionError("it started")
        assert "wrong@" not in str(failure.value) and "invalid username" in str(failure.value)


async def test_a_unix_socket(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with brokers.valkey(unixsocket=str(path)):
        await assert_works(RedisAdapter(f"unix://{path}", prefix=prefix))


async def test_tls(prefix: str, tmp_path: Path) -> None:
    """With the certificate authority in the URL, in redis-py's syntax."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    port = brokers.free_port()
    options = {
        "tls_port": str(port),
        "tls_cert_file": str(tmp_path / "cert.pem"),
        "tls_key_file": str(tmp_path / "key.pem"),
        "tls_ca_cert_file": str(tmp_path / "ca.pem"),
        "tls_auth_clients": "no",
    }
    async with brokers.redis(**options):
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}"
        await assert_works(RedisAdapter(url, prefix=prefix))


async def test_a_client_of_redis_py_is_an_address(valkey: Broker, prefix: str) -> None:
    """Its settings do not matter: this one decodes, and uses another protocol than the adapter."""
    client = redis.asyncio.Redis.from_url(valkey.url, decode_responses=True, protocol=3)
    await assert_works(RedisAdapter(client, prefix=prefix))
    await client.aclose()


async def test_a_client_of_sentinel_is_an_address(sentinel: Replicated, prefix: str) -> None:
    """`master_for` returns it."""
    addresses, _, name = sentinel.url.partition("://")[2].partition("/")
    host, port = addresses.split(",")[0].split(":")
    asked: Any = Sentinel([(host, int(port))])  # type: ignore[no-untyped-call]
    master = asked.master_for(name)
    await assert_works(RedisAdapter(master, prefix=prefix))
    await master.aclose()
    await asked.aclose()


async def test_a_client_of_a_cluster_is_an_address(cluster: Cluster, prefix: str) -> None:
    """Of any of its nodes."""
    address = cluster.url.partition("://")[2].split(":")
    nodes = redis.asyncio.RedisCluster(host=address[0], port=int(address[1]))
    await assert_works(RedisAdapter(nodes, prefix=prefix))
    await nodes.aclose()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("http://localhost", {}, "not a URL of Redis"),
        ("redis+sentinel://localhost:26379", {}, "master's name is missing"),
        ("redis+sentinel://user:secret@:1/m", {}, "is not a host"),
        ("redis://localhost", {"history": -1}, "history"),
        ("redis://localhost", {"ttl": 0}, "ttl"),
        ("redis://localhost", {"prefix": "a{b"}, "prefix"),
        ("redis://localhost", {"prefix": ""}, "prefix"),
        ("redis+sentinel://localhost:26379/m", {"trust_persistence": True}, "failover"),
        ("redis+cluster://localhost:6379", {"trust_persistence": True}, "failover"),
        (5, {}, "neither a URL"),
    ],
)
def test_invalid_settings_raise_at_once(url: Any, options: Any, says: str) -> None:
    """The constructor raises, without a password in the sentence."""
    with pytest.raises(SetupError, match=says) as failure:
        RedisAdapter(url, **options)
    assert "secret" not in str(failure.value)
