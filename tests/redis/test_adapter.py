"""What only the Redis adapter has: where it connects to, what it keeps there, and its scripts."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import trustme
from redis.asyncio.sentinel import Sentinel

from tests.support import brokers
from tests.support.brokers import Broker, Cluster, Replicated
from tests.support.clock import SECOND, until
from tests.support.paths import DOCS
from tests.support.servers import program
from wsroom import AdapterError, AsyncPublisher, Emitter, RedisAdapter, SetupError, WSRoom
from wsroom.adapters.redis.scripts import Keeping, keys, scripts_for
from wsroom.testing import TestClient


def make_app(adapter: RedisAdapter) -> WSRoom:
    app = WSRoom(adapter)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to(message["room"]).emit("said", message["text"])

    return app


async def talk(adapter: RedisAdapter) -> None:
    """See that a message goes through."""
    async with TestClient(make_app(adapter)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        await a.request("say", {"room": "chat", "text": "hi"})
        assert await a.expect("said") == "hi"


# -- where it connects to ------------------------------------------------------------------


async def test_a_password_a_user_and_a_database(prefix: str) -> None:
    """In the URL, escaped as URLs are; the keys are in that database."""
    async with brokers.valkey(user="lisa on >p%40ss ~* &* +@all") as broker:
        address = f"127.0.0.1:{broker.port}/3"
        await talk(RedisAdapter(f"redis://lisa:p%2540ss@{address}", prefix=prefix))
        assert "db3" in await broker.info("keyspace")


async def test_an_acl_may_be_narrow(prefix: str) -> None:
    """The rights that docs/scaling.md lists are enough, and nothing outside the prefix is used."""
    page = (DOCS / "scaling.md").read_text()
    line = next(line for line in page.splitlines() if "A user with an ACL" in line)
    rights = " ".join(re.findall(r"`([^`]+)`", line)).replace("wsroom:*", f"{prefix}:*")
    async with brokers.valkey(user=f"app on >pw -@all {rights}") as broker:
        await talk(RedisAdapter(f"redis://app:pw@127.0.0.1:{broker.port}", prefix=prefix))


async def test_a_wrong_password_is_a_clear_error(prefix: str) -> None:
    """Without the password in it."""
    async with brokers.valkey(user="lisa on >secret ~* &* +@all") as broker:
        adapter = RedisAdapter(f"redis://lisa:wrong@127.0.0.1:{broker.port}", prefix=prefix)
        with pytest.raises(SetupError, match=r"did not start.*cannot be used") as failure:
            async with TestClient(make_app(adapter)):
                raise AssertionError("it started")
        assert "wrong@" not in str(failure.value) and "invalid username" in str(failure.value)


async def test_a_unix_socket(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with brokers.valkey(unixsocket=str(path)):
        await talk(RedisAdapter(f"unix://{path}", prefix=prefix))


async def test_tls(prefix: str, tmp_path: Path) -> None:
    """With the certificate's authority in the URL, as redis-py takes it."""
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
        await talk(RedisAdapter(url, prefix=prefix))


async def test_a_client_describes_where_to_connect(
    valkey: Broker, sentinel: Replicated, cluster: Cluster, prefix: str
) -> None:
    """Whatever its own settings are: it decodes, and speaks another protocol than we need."""
    client = redis.asyncio.Redis.from_url(valkey.url, decode_responses=True, protocol=3)
    await talk(RedisAdapter(client, prefix=prefix))
    await client.aclose()
    addresses, _, name = sentinel.url.partition("://")[2].partition("/")
    host, port = addresses.split(",")[0].split(":")
    asked: Any = Sentinel([(host, int(port))])  # type: ignore[no-untyped-call]
    master = asked.master_for(name)
    await talk(RedisAdapter(master, prefix=prefix))
    await master.aclose()
    await asked.aclose()
    address = cluster.url.partition("://")[2].split(":")
    nodes = redis.asyncio.RedisCluster(host=address[0], port=int(address[1]))
    await talk(RedisAdapter(nodes, prefix=prefix))
    await nodes.aclose()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("http://localhost", {}, "no URL of Redis"),
        ("redis+sentinel://localhost:26379", {}, "master's name is missing"),
        ("redis+sentinel://user:secret@:1/m", {}, "is no host"),
        ("redis://localhost", {"history": -1}, "history"),
        ("redis://localhost", {"ttl": 0}, "ttl"),
        ("redis://localhost", {"prefix": "a{b"}, "prefix"),
        ("redis://localhost", {"prefix": ""}, "prefix"),
        ("redis+sentinel://localhost:26379/m", {"trust_persistence": True}, "failover"),
        ("redis+cluster://localhost:6379", {"trust_persistence": True}, "failover"),
        (5, {}, "no URL"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(url: Any, options: Any, says: str) -> None:
    """When the adapter is made, without a password in the sentence."""
    with pytest.raises(SetupError, match=says) as failure:
        RedisAdapter(url, **options)
    assert "secret" not in str(failure.value)


async def test_an_adapter_serves_one_app(valkey: Broker, prefix: str) -> None:
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    async with TestClient(make_app(adapter)):
        with pytest.raises(SetupError, match="make one for each"):
            async with TestClient(make_app(adapter)):
                raise AssertionError("it started")


async def test_it_starts_again(valkey: Broker, prefix: str) -> None:
    """On another event loop too, as an app at the top of a module does in tests."""
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    await talk(adapter)
    await asyncio.to_thread(asyncio.run, talk(adapter))
    await talk(adapter)


APP = "from wsroom import WSRoom\napp = WSRoom()\napp.add_handler('say', lambda emitter: None)\n"


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_unreachable_redis_is_a_refused_start(tmp_path: Path, workers: int) -> None:
    """Within 5 s, with a sentence, and the parent of several workers ends too."""
    (tmp_path / "app.py").write_text(APP)
    env = {"WSROOM_REDIS_URL": f"redis://:secret@127.0.0.1:{brokers.free_port()}"}
    args = ("-m", "uvicorn", "app:app", "--port", "0", "--workers", str(workers))
    async with program(*args, cwd=tmp_path, env=env) as server:
        line = await server.line("cannot be used")
        assert "Connect" in line and "secret" not in line
        await server.end()


# -- what it keeps there -------------------------------------------------------------------


async def test_every_key_has_an_end(valkey: Broker, prefix: str) -> None:
    """Nothing stays in Redis for ever, and each key says whose it is."""
    async with TestClient(make_app(RedisAdapter(valkey.url, prefix=prefix, ttl=7))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        await a.request("say", {"room": "chat", "text": "hi"})
        await a.request("say", {"room": a.id, "text": "hi"})
        await a.request("say", {"room": "nobody", "text": "hi"})
    names = await valkey.cli("KEYS", f"{prefix}:*")
    ends = {name: await valkey.cli("TTL", name) for name in names}
    assert len(ends) == 1 + 4 + 3  # settings; path, worker, two rooms; what was said in three
    assert all(end > 0 for end in ends.values()), ends
    assert max(end for name, end in ends.items() if name.endswith(":history")) <= 8


async def test_only_rooms_with_members_are_heard(valkey: Broker, prefix: str) -> None:
    """A worker without members of a room does nothing for it."""

    async def heard() -> set[str]:
        channels = await valkey.cli("PUBSUB", "CHANNELS", f"{prefix}:*")
        return {
            name.partition("\n")[2][:-1]
            for name in channels
            if "\nws:" not in name and "\n" in name
        }

    async with TestClient(make_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        assert await heard() == set()
        a, b = await client.connect("/ws"), await client.connect("/ws")
        await a.join("chat", "news")
        await b.join("chat")
        assert await heard() == {"", "chat", "news"}
        await a.leave("chat", "news")
        await brokers.eventually(lambda: _is(heard, {"", "chat"}))
        await b.close()
        await brokers.eventually(lambda: _is(heard, {""}))
        await a.close()
        await brokers.eventually(lambda: _is(heard, set()))


async def _is(ask: Any, wanted: set[str]) -> bool:
    return bool(await ask() == wanted)


async def test_prefixes_and_foreign_messages(
    valkey: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Apps with different prefixes do not meet; what is none of ours is counted and dropped."""
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    other = RedisAdapter(valkey.url, prefix=f"{prefix}2")
    async with TestClient(make_app(adapter)) as one, TestClient(make_app(other)) as two:
        a, b = await one.connect("/ws"), await two.connect("/ws")
        await a.join("chat")
        await b.join("chat")
        channel = f"{prefix}:{{/ws\nchat}}"
        rubbish = (b"", b"hi", b"\xff\n\n\n", b"a:1\n1 x 1\n\n{}", b'a:1\n1 ab 1\n{"rooms":5}\n{}')
        for message in rubbish:
            async with valkey.connection() as send:
                assert await send("PUBLISH", channel, message) == 1
        await a.request("say", {"room": "chat", "text": "hi"})
        assert await a.expect("said") == "hi"
        assert adapter.foreign == len(rubbish)
        await b.request("say", {"room": "chat", "text": "ho"})
        assert await b.expect("said") == "ho"
        assert [frame["message"] for frame in a.frames if frame["event"] == "said"] == ["hi"]
    assert len([record for record in caplog.records if "none of wsroom's" in record.message]) == 1


async def test_a_record_of_a_later_release_keeps_its_place(valkey: Broker, prefix: str) -> None:
    """Nobody here understands it, and it is no gap either."""
    async with TestClient(make_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        epoch = a.offsets["chat"].split(":")[0]
        channel = f"{prefix}:{{/ws\nchat}}"
        await valkey.cli("HSET", channel, "seq", 1)
        await valkey.cli("PUBLISH", channel, f"{epoch}:1\n2 ab 1\nwhatever\n\n")
        await a.request("say", {"room": "chat", "text": "hi"})
        assert await a.expect("said") == "hi"
        assert a.offsets["chat"] == f"{epoch}:2"


# -- the scripts ---------------------------------------------------------------------------


class Sequence:
    """One sequence, asked and told by the scripts alone."""

    def __init__(self, broker: Broker, prefix: str, run: str = "run", **keeping: Any) -> None:
        self.broker = broker
        self.keys = keys(f"{prefix}:{{x}}")
        self.scripts = scripts_for(run, Keeping(**keeping), shards=False)

    async def publish(self, by: str, number: int, before: int | str = "", text: str = "") -> Any:
        words = (2, *self.keys, by, number, before, text)
        return await self.broker.cli("EVAL", self.scripts["publish"].text, *words)

    async def read(self, epoch: str = "", seq: int = 0, most: int = 300) -> Any:
        words = (2, *self.keys, epoch, seq, most)
        return await self.broker.cli("EVAL", self.scripts["read"].text, *words)


async def test_an_emission_is_carried_out_once(valkey: Broker, prefix: str) -> None:
    """However often it is sent, and not after a later one of its publisher."""
    room = Sequence(valkey, prefix)
    first = await room.publish("a", 5)
    assert first.endswith(":1")
    assert await room.publish("a", 5) == ""
    assert (await room.publish("b", 1)).endswith(":2")
    assert (await room.publish("a", 7, 5)).endswith(":3")
    assert await room.publish("a", 6) == ""
    with pytest.raises(redis.ResponseError, match="is missing"):
        await room.publish("a", 9, 8)
    with pytest.raises(redis.ResponseError, match="is missing"):
        await room.publish("c", 2, 1)
    assert (await room.read())[1] == 3


async def test_another_server_is_a_new_epoch(valkey: Broker, prefix: str) -> None:
    """Unless its persistence is trusted."""
    epoch, seq, _ = await Sequence(valkey, prefix).read()
    assert seq == 0
    await Sequence(valkey, prefix).publish("a", 1)
    trusting = Sequence(valkey, prefix, run="again", trusted=True)
    assert (await trusting.read(epoch, 0))[:3] == [epoch, 1, 1]
    again, seq, complete = await Sequence(valkey, prefix, run="again").read(epoch, 0)
    assert again != epoch and (seq, complete) == (0, 2)
    assert (await Sequence(valkey, prefix, run="third").publish("a", 1)).endswith(":1")


async def test_history_is_bounded_by_count_and_bytes(valkey: Broker, prefix: str) -> None:
    """And what is read is all or nothing."""
    room = Sequence(valkey, prefix, history=3)
    epoch = (await room.read())[0]
    for number in range(1, 6):
        await room.publish("a", number, text=str(number))
    assert (await room.read(epoch, 1)) == [epoch, 5, 0]
    assert (await room.read(epoch, 2))[2:] == [1, *(f"{epoch}:{n}\n{n}" for n in (3, 4, 5))]
    assert (await room.read(epoch, 2, 2)) == [epoch, 5, 0]
    assert (await room.read(epoch, 5)) == [epoch, 5, 1]
    assert (await room.read(epoch, 6)) == [epoch, 5, 0]
    assert (await room.read("other", 5)) == [epoch, 5, 0]
    assert (await Sequence(valkey, f"{prefix}2").read("other", 5))[1:] == [0, 2]
    half = "x" * 600_000
    await room.publish("a", 6, text=half)
    await room.publish("a", 7, text=half)
    assert await valkey.cli("LLEN", room.keys[1]) == 1
    assert (await room.read(epoch, 6))[2] == 1
    assert (await room.read(epoch, 5)) == [epoch, 7, 0]
    await Sequence(valkey, prefix, history=0).publish("a", 8)
    assert (await room.read(epoch, 7)) == [epoch, 8, 0]
    assert (await room.read(epoch, 8)) == [epoch, 8, 1]


async def test_publishers_are_forgotten(valkey: Broker, prefix: str) -> None:
    """A state does not grow with each process that ever published; recent ones stay."""
    room = Sequence(valkey, prefix)
    await room.publish("a0", 1)
    for number in range(70):
        await valkey.cli("HSET", room.keys[0], f"by:b{number}", "1 1000")
    await room.publish("a1", 1)
    fields = await valkey.cli("HKEYS", room.keys[0])
    assert {name for name in fields if name.startswith("by:")} == {"by:a0", "by:a1"}


# -- in order, once, and not without an end ------------------------------------------------


async def test_a_flush_of_the_scripts_in_a_burst_changes_nothing(
    valkey: Broker, prefix: str
) -> None:
    """Some of the burst are refused, and sent again in their order."""
    async with TestClient(make_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            target = publisher.to("chat")
            for start in range(0, 1000, 50):
                emits = [target.emit("noti", n) for n in range(start, start + 50)]
                await asyncio.gather(*emits, valkey.cli("SCRIPT", "FLUSH"))
        for number in range(1000):
            assert await a.expect("noti") == number


async def test_connections_killed_in_a_burst_change_nothing(valkey: Broker, prefix: str) -> None:
    """What was carried out but not answered is not carried out again."""
    async with TestClient(
        make_app(RedisAdapter(valkey.url, prefix=prefix, history=1000))
    ) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            target = publisher.to("chat")
            for start in range(0, 1000, 100):
                emits = [target.emit("noti", n) for n in range(start, start + 100)]
                kill = valkey.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await asyncio.gather(*emits, kill)
        for number in range(1000):
            assert await a.expect("noti", timeout=10 * SECOND) == number


def about_redis(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "Redis at" in record.message]


async def test_redis_away(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Emits wait, then fail; sockets stay, new ones are refused; it heals, and says so once."""
    caplog.set_level(logging.WARNING, "wsroom")
    async with brokers.valkey() as broker:
        adapter = RedisAdapter(broker.url, prefix=prefix)
        app = make_app(adapter)
        async with TestClient(app, timeout=10 * SECOND) as client:
            a = await client.connect("/ws")
            await a.join("chat")
            assert adapter.healthy
            await broker.kill()
            await until(lambda: not adapter.healthy)
            loop = asyncio.get_running_loop()
            since = loop.time()
            with pytest.raises(AdapterError) as failure:
                await app.to("chat").emit("noti")
            assert loop.time() - since < 6 * SECOND
            assert not failure.value.maybe_sent
            with pytest.raises(Exception, match="503"):
                await client.connect("/ws")
            waits = asyncio.create_task(app.to("chat").emit("noti", "late"))
            await broker.start()
            await waits
            assert await a.expect("noti") == "late"
            await until(lambda: adapter.healthy)
            await client.connect("/ws")
            await until(lambda: len(about_redis(caplog)) > 1)
    said = about_redis(caplog)
    assert [("is away" in line, "is back" in line) for line in said] == [
        (True, False),
        (False, True),
    ]


async def test_too_much_that_waits_is_refused_at_once(prefix: str) -> None:
    """Memory stays bounded while Redis is away: 1,000 emissions, or 1 MiB."""
    async with brokers.valkey() as broker:
        adapter = RedisAdapter(broker.url, prefix=prefix)
        app = make_app(adapter)
        async with TestClient(app):
            await broker.kill()
            await until(lambda: not adapter.healthy)
            for size, most in ((10, 1000), (100_000, 10)):
                emits = [app.to("chat").emit("noti", "x" * size) for _ in range(most + 100)]
                waiting = [asyncio.create_task(emit) for emit in emits]
                await asyncio.wait(waiting[most:])
                done = [task for task in waiting if task.done()]
                late = [task for task in waiting if not task.done()]
                assert len(late) == most
                assert all("too much" in str(task.exception()) for task in done)
                await asyncio.wait(late)
                assert all(isinstance(task.exception(), AdapterError) for task in late)


async def test_a_frozen_redis_says_maybe_and_nothing_is_doubled(prefix: str) -> None:
    """What it thaws with may have been carried out; a later emission comes after it."""
    async with brokers.valkey() as broker:
        app = make_app(RedisAdapter(broker.url, prefix=prefix))
        async with TestClient(app, timeout=10 * SECOND) as client:
            a = await client.connect("/ws")
            await a.join("chat")
            broker.freeze()
            with pytest.raises(AdapterError) as failure:
                await app.to("chat").emit("noti", "frozen")
            assert failure.value.maybe_sent
            broker.thaw()
            await app.to("chat").emit("noti", "last")
            while await a.expect("noti") != "last":
                continue
        heard = [frame["message"] for frame in a.frames if frame["event"] == "noti"]
        assert heard in (["frozen", "last"], ["last"])
