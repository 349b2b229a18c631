"""Redis is away, frozen or replaced: which emissions wait, fail, and are delivered afterwards."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support import brokers
from tests.support.adapters import CHAT, Worker, chat_app, emission, started
from tests.support.brokers import Broker
from tests.support.clock import QUICK, SECOND, until
from tests.support.proxy import Proxy
from wsroom import AdapterError, AsyncPublisher, RedisAdapter
from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.scripts import sequence_keys
from wsroom.testing import TestClient
from wsroom.wire.emission import RESYNC, Emission, Room
from wsroom.wire.offsets import Offset


def about_redis(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "Redis at" in record.message]


async def test_redis_away(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Emits wait, then fail; sockets stay, new ones are refused; the adapter recovers by itself."""
    caplog.set_level(logging.WARNING, "wsroom")
    async with brokers.valkey() as broker:
        adapter = RedisAdapter(broker.url, prefix=prefix, _timing=QUICK)
        app = chat_app(adapter)
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
            assert loop.time() - since < QUICK.redis_timeout + SECOND
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
    assert [("is unavailable" in line, "is available again" in line) for line in said] == [
        (True, False),
        (False, True),
    ]


async def test_too_much_that_waits_is_refused_at_once(prefix: str) -> None:
    """Memory stays bounded while Redis is away: 1,000 emissions, or 1 MiB."""
    async with brokers.valkey() as broker:
        adapter = RedisAdapter(broker.url, prefix=prefix, _timing=QUICK)
        app = chat_app(adapter)
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
                assert all("too many" in str(task.exception()) for task in done)
                await asyncio.wait(late)
                assert all(isinstance(task.exception(), AdapterError) for task in late)


async def test_a_frozen_redis_says_maybe_and_nothing_is_doubled(prefix: str) -> None:
    """Redis may execute the emission after it continues; a later emission is delivered after it."""
    async with brokers.valkey() as broker:
        app = chat_app(RedisAdapter(broker.url, prefix=prefix, _timing=QUICK))
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


async def test_an_emission_that_failed_unsent_is_never_sent(prefix: str) -> None:
    """Redis returns in the moment in which two emits of a room fail."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix, _timing=QUICK)
        async with started(worker):
            await worker.adapter.subscribe(CHAT)
            receiver = worker.adapter._receiver
            assert receiver is not None
            channel = RedisNames(prefix).channel(CHAT)
            await broker.kill()
            await until(lambda: not receiver.servers.healthy)
            sender = receiver.publisher._sender
            since = asyncio.get_running_loop().time() - QUICK.redis_timeout
            two = [sender.add(channel, emission(text), since) for text in ("one", "two")]
            await until(lambda: all(one.future.done() for one in two))
            await broker.start()
            await until(lambda: receiver.servers.healthy)
            for one in two:
                sender.remove(one)
                error = one.future.exception()
                assert isinstance(error, AdapterError) and not error.maybe_sent
            await worker.adapter.publish(emission("after"))
            await until(lambda: "after" in worker.delivered)
        assert not {"one", "two"} & set(worker.delivered)


async def test_an_emit_that_waited_for_its_turn_waits_no_longer_than_others(prefix: str) -> None:
    """Its timeout is measured from the call, also if other emissions are sent first."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix, _timing=QUICK)
        async with started(worker):
            assert worker.adapter._receiver is not None
            sender = worker.adapter._receiver.publisher._sender
            broker.freeze()
            now = asyncio.get_running_loop().time()
            young = sender.add("a", emission("x"), now)
            old = sender.add("b", emission("y"), now - QUICK.redis_timeout)
            with pytest.raises(AdapterError, match="did not answer"):
                await old.future
            assert not young.future.done()
            broker.thaw()
            await young.future


async def test_a_server_that_became_a_replica_is_left(prefix: str) -> None:
    """New connections reach the new master, as behind the address of a managed Redis."""
    async with brokers.valkey() as one, brokers.valkey() as two:
        proxy = Proxy(one.port)
        async with proxy.listen() as port:
            worker = Worker(f"redis://127.0.0.1:{port}", prefix, _timing=QUICK)
            async with started(worker):
                await worker.adapter.subscribe(CHAT)
                await worker.adapter.publish(emission("before"))
                proxy.target = two.port
                await one.cli("REPLICAOF", "127.0.0.1", two.port)
                await worker.adapter.publish(emission("after"))
                await until(lambda: "after" in worker.delivered)


class ClosesAtPing(Proxy):
    """Ends each connection at its first heartbeat."""

    connections = 0

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        try:
            while b"PING" not in (data := await source.read(65536)) and data:
                target.write(data)
            self.connections += b"PING" in data
        finally:
            target.close()


async def test_connections_that_end_at_once_are_made_less_often(prefix: str) -> None:
    """The time between attempts grows until a heartbeat is answered, for publishers too."""
    async with brokers.valkey() as broker:
        proxy = ClosesAtPing(broker.port)
        async with (
            proxy.listen() as port,
            AsyncPublisher(f"redis://127.0.0.1:{port}", prefix=prefix, _timing=QUICK) as publisher,
        ):
            with pytest.raises(AdapterError, match="cannot be used"):
                await publisher.to("chat").emit("noti")
    assert 1 < proxy.connections < 10 * SECOND


async def test_volatile_messages_are_dropped_while_redis_is_away(prefix: str) -> None:
    """At once and without an error: while it is frozen, gone, or was never there."""
    async with brokers.valkey() as broker:
        adapter = RedisAdapter(broker.url, prefix=prefix, _timing=QUICK)
        app = chat_app(adapter)
        chat = app.to("chat")
        async with TestClient(app, timeout=10 * SECOND) as client:
            a = await client.connect("/ws")
            await a.join("chat")
            broker.freeze()
            async with asyncio.timeout(5 * SECOND):  # it would wait each time
                for number in range(3000):  # more than may wait for an answer
                    await chat.emit("cursor", number, volatile=True)
            broker.thaw()
            await chat.emit("noti", "thawed")
            await a.expect("noti")
            seen = [frame["message"] for frame in a.frames if frame["event"] == "cursor"]
            assert seen == list(range(len(seen))) and len(seen) <= 1000
            await broker.kill()
            async with asyncio.timeout(5 * SECOND):  # it would wait each time
                await chat.emit("cursor", "away", volatile=True)
            await until(lambda: not adapter.healthy)
            await chat.emit("cursor", "away", volatile=True)
            await broker.start()
            await until(lambda: adapter.healthy)
            await chat.emit("noti", "back")
            await a.expect("noti")
            assert "away" not in [frame["message"] for frame in a.frames]
        await broker.kill()
        async with AsyncPublisher(broker.url, prefix=prefix, _timing=QUICK) as publisher:
            await publisher.to("chat").emit("cursor", volatile=True)


async def test_a_restart_is_one_resync_for_each_room(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The one of the path covers messages to single sockets too, whatever is lost first."""
    caplog.set_level(logging.INFO, "wsroom")
    async with brokers.valkey() as broker:
        app = chat_app(RedisAdapter(broker.url, prefix=prefix, _timing=QUICK))
        async with TestClient(app, timeout=10 * SECOND) as client:
            a = await client.connect("/ws")
            await a.join("chat", "news")
            for target in (app.to(), app.to("chat"), app.to(a.id)):
                await target.emit("noti")
            await broker.kill()
            await broker.start()
            await until(lambda: lost(caplog) == 4)
            for target in (app.to("chat"), app.to("news"), app.to(), app.to(a.id)):
                await target.emit("end")
            for _ in range(4):
                await a.expect("end")
            told = [frame["message"]["room"] for frame in a.frames if frame["event"] == "resync"]
            assert sorted(told, key=str) == [None, "chat", "news"]


async def test_lost_messages_to_single_sockets_are_reported(
    valkey: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If the path has lost nothing, its sockets are notified nevertheless."""
    caplog.set_level(logging.INFO, "wsroom")
    app = chat_app(RedisAdapter(valkey.url, prefix=prefix))
    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect("/ws")
        await app.to(a.id).emit("noti")
        await a.expect("noti")
        own = Room("", a.id.partition(".")[0])
        await valkey.cli("DEL", RedisNames(prefix).channel(own))
        await app.to(a.id).emit("noti")
        assert await a.expect("resync") == {"room": None, "offset": None}
    assert lost(caplog) == 1


def lost(caplog: pytest.LogCaptureFixture) -> int:
    return sum("were lost" in record.message for record in caplog.records)


async def test_a_loss_after_a_paths_own_is_reported_too(valkey: Broker, prefix: str) -> None:
    """A worker that misses messages to its sockets in the new epoch reports them by themselves."""
    seen: list[tuple[Room, str]] = []

    def deliver(emission: Emission, offset: Offset | None) -> None:
        seen.append((emission.room, emission.kind))

    adapter = RedisAdapter(valkey.url, prefix=prefix, history=0)
    own, path = Room("", "ws:a"), Room("/ws", "")
    await adapter.start(deliver)
    async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
        for room in (own, path):
            await adapter.subscribe(room)
        receiver = adapter._running()
        feed = receiver.feeds[receiver._names.channel(own)]
        # The path reports its loss while the worker's own sequence is still interrupted.
        feed.interrupt(0.0)
        *_, used = sequence_keys(feed.channel, sharded=False)
        await valkey.cli("DEL", used)
        await publisher.to().emit("noti")
        await until(lambda: (path, RESYNC) in seen)
        await publisher.to("ws:a.1").emit("lost: there is no history")
        receiver.subscribed(feed.channel)
        await until(lambda: (own, RESYNC) in seen)
    await adapter.stop(deliver)
