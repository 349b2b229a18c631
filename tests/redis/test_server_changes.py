"""Redis at the edges: servers that change their part, starts and stops at a bad moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support import brokers
from tests.support.brokers import Broker, Cluster
from tests.support.clock import SECOND, until
from tests.support.processes import eventually
from tests.support.servers import program
from wsroom import AdapterError, AsyncPublisher, Publisher, RedisAdapter, WSRoom
from wsroom.adapters import Offset
from wsroom.adapters.redis.codec import Names
from wsroom.adapters.redis.network import topology as topologies
from wsroom.adapters.redis.network.url import topology
from wsroom.adapters.redis.scripts import keys
from wsroom.timing import DEFAULT_TIMING
from wsroom.wire.emission import Emission, Room

CHAT = Room("/ws", "chat")


def said(text: str) -> Emission:
    return Emission(CHAT, text.encode())


class Worker:
    """One worker's side of an adapter, and what was delivered to it."""

    def __init__(self, url: str, prefix: str) -> None:
        self.adapter = RedisAdapter(url, prefix=prefix)
        self.heard: list[str] = []

    def deliver(self, emission: Emission, offset: Offset | None) -> None:
        self.heard.append(emission.kind if not emission.payload else emission.payload.decode())


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await worker.adapter.start(worker.deliver)
            stack.push_async_callback(worker.adapter.stop, worker.deliver)
        yield


async def test_a_slot_that_moves_is_heard_where_it_is(cluster: Cluster, prefix: str) -> None:
    """A worker that only listens there notices too."""
    one, two = Worker(cluster.url, prefix), Worker(cluster.url, prefix)
    channel = f"{prefix}:{{/ws\nchat}}"
    async with running(one, two):
        await one.adapter.subscribe(CHAT)
        await two.adapter.publish(said("before"))
        await until(lambda: "before" in one.heard)
        masters, source, target = await two_masters(cluster, channel)
        await move(masters, source, target, channel)
        await until(lambda: one.heard[1:])  # what happened in the slot before means nothing now
        assert one.heard[1:] == ["resync"]
        await two.adapter.publish(said("after"))
        await until(lambda: "after" in one.heard)
        await move(masters, target, source, channel)


async def role(node: Broker) -> str:
    return str((await node.info("replication"))["role"])


async def two_masters(cluster: Cluster, channel: str) -> tuple[list[Broker], Broker, Broker]:
    """All masters; the one that has the channel's slot; one that has not."""
    masters = [node for node in cluster.brokers if await role(node) == "master"]
    source = await cluster.master(channel)
    return masters, source, next(node for node in masters if node is not source)


async def move(masters: list[Broker], source: Broker, target: Broker, channel: str) -> None:
    """Move the slot of a channel to another master, with its keys."""
    slot = int(await source.cli("CLUSTER KEYSLOT", channel))
    ids = {node: await node.cli("CLUSTER MYID") for node in masters}
    await target.cli("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    await source.cli("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    for key in await source.cli("CLUSTER GETKEYSINSLOT", slot, 100):
        await source.cli("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    for node in (target, source, *(set(masters) - {source, target})):
        await node.cli("CLUSTER SETSLOT", slot, "NODE", ids[target])


@contextlib.asynccontextmanager
async def forwarding(to: list[Broker]) -> AsyncIterator[int]:
    """A port that leads to the last of the brokers, as the address of a managed Redis does."""

    connections: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
        except OSError:
            return
        finally:
            target.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", to[-1].port)
        try:
            await asyncio.gather(copy(reader, back), copy(there, writer))
        finally:
            for end in (writer, back):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait(connections, timeout=10 * SECOND)


async def test_a_server_that_became_a_replica_is_left(prefix: str) -> None:
    """The address leads to the new master, the old connections do not."""
    async with brokers.valkey() as one, brokers.valkey() as two:
        to = [one]
        async with forwarding(to) as port:
            worker = Worker(f"redis://127.0.0.1:{port}", prefix)
            async with running(worker):
                await worker.adapter.subscribe(CHAT)
                await worker.adapter.publish(said("before"))
                to.append(two)
                await one.cli("REPLICAOF", "127.0.0.1", two.port)
                await worker.adapter.publish(said("after"))
                await until(lambda: "after" in worker.heard)


async def test_a_join_that_a_stop_ends_leaves_nothing_behind(prefix: str) -> None:
    """The next start, and a join of the same room, are as ever."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix)
        async with running(worker):
            await broker.kill()
            await until(lambda: not worker.adapter.healthy)
            joining = asyncio.create_task(worker.adapter.subscribe(CHAT))
            await until(lambda: worker.adapter._listener and worker.adapter._listener._progress)
        with pytest.raises(AdapterError, match="left meanwhile"):
            await joining
        await broker.start()
        async with running(worker):
            assert await worker.adapter.subscribe(CHAT)


async def test_a_stop_in_a_burst_ends_all_of_it(valkey: Broker, prefix: str) -> None:
    """Whatever waits fails at once, and no connection is made for it."""
    worker = Worker(valkey.url, prefix)
    async with running(worker):
        emits = [asyncio.create_task(worker.adapter.publish(said("x"))) for _ in range(2500)]
        await asyncio.sleep(0)
    async with asyncio.timeout(2 * SECOND):
        ends = await asyncio.gather(*emits, return_exceptions=True)
    assert all(end is None or isinstance(end, AdapterError) for end in ends)
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert "wsroom: Redis" not in names


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
async def test_a_redis_that_is_not_there_is_always_the_same_error(scheme: str, prefix: str) -> None:
    """Whatever redis-py raises."""
    worker = Worker(f"{scheme}://127.0.0.1:{brokers.free_port()}/0", prefix)
    async with asyncio.timeout(6 * SECOND):
        with pytest.raises(AdapterError, match="cannot be used"):
            async with running(worker):
                raise AssertionError("it started")


async def test_a_server_that_is_no_cluster(valkey: Broker, prefix: str) -> None:
    worker = Worker(valkey.url.replace("redis:", "redis+cluster:"), prefix)
    with pytest.raises(AdapterError, match="cluster"):
        async with running(worker):
            raise AssertionError("it started")


async def test_a_question_to_a_cluster_can_be_given_up(valkey: Broker) -> None:
    """At any moment: a wait that loses a cancellation would keep a start from ending."""
    asked = topology(valkey.url.replace("redis:", "redis+cluster:"))
    loop = asyncio.get_running_loop()
    for step in range(400):
        task = asyncio.ensure_future(asked.refresh())
        giving_up = loop.call_later(step / 400 * 0.004, task.cancel)
        with contextlib.suppress(asyncio.CancelledError, RedisConnectionError):
            await task
        giving_up.cancel()
        assert task.cancelled() or not task.cancelling()
    await asked.close()


async def test_a_right_that_is_missing_is_named(prefix: str) -> None:
    """In the error, not only that nothing came; and the server is not flooded."""
    async with without_channels(prefix) as (broker, worker):
        with pytest.raises(AdapterError, match="No permissions"):
            await worker.adapter.subscribe(CHAT)
        connections = (await broker.info("stats"))["total_connections_received"]
    assert connections < 200


async def test_a_message_that_may_not_be_published_is_refused_as_a_whole(prefix: str) -> None:
    """Nothing of it is done, and so the same sent again does not pass for carried out."""
    async with without_channels(prefix) as (broker, worker):
        for _ in range(2):
            with pytest.raises(AdapterError, match=r"refused: .*may not publish to the channel"):
                await worker.adapter.publish(said("x"))
        assert worker.adapter._listener is not None
        channel = Names(prefix).channel(CHAT)
        words = ("publish", *keys(channel), "somebody", 1, "", b"a record")
        for _ in range(2):
            with pytest.raises(AdapterError, match="may not publish"):
                await worker.adapter._listener.links.ask(channel, words)
        assert await broker.cli("EXISTS", *keys(channel)) == 0


@contextlib.asynccontextmanager
async def without_channels(prefix: str) -> AsyncIterator[tuple[Broker, Worker]]:
    """A worker whose user may hear and tell nothing but its own heartbeat."""
    rights = f"on >pw ~* &{prefix}:beat* -@all +@all"
    async with brokers.valkey(user=f"app {rights}") as broker:
        worker = Worker(f"redis://app:pw@127.0.0.1:{broker.port}", prefix)
        async with running(worker):
            yield broker, worker


async def test_a_right_that_is_given_later_is_enough(prefix: str) -> None:
    """What failed in the middle has not broken its room."""
    async with brokers.valkey(user="app on >pw ~* &* +@all -rpush") as broker:
        url = f"redis://app:pw@127.0.0.1:{broker.port}"
        async with AsyncPublisher(url, prefix=prefix) as publisher:
            with pytest.raises(AdapterError, match="refused"):
                await publisher.to("chat").emit("noti")
            await broker.cli("ACL", "SETUSER", "app", "+rpush")
            await publisher.to("chat").emit("noti")


async def test_joins_while_scripts_are_forgotten(valkey: Broker, prefix: str) -> None:
    """Whatever a question meets between the loads of the scripts, it is asked again."""
    worker = Worker(valkey.url, prefix)
    async with running(worker):
        joins = []
        for number in range(40):
            flush = asyncio.create_task(valkey.cli("SCRIPT", "FLUSH"))
            for step in range(30):
                rooms = [Room("/ws", f"{number}-{step}-{n}") for n in range(5)]
                joins += [asyncio.create_task(worker.adapter.subscribe(room)) for room in rooms]
                await asyncio.sleep(0)
            await flush
        ends = await asyncio.gather(*joins, return_exceptions=True)
    assert [end for end in ends if isinstance(end, Exception)] == []


async def test_a_stop_during_joins_leaves_no_task(valkey: Broker, prefix: str) -> None:
    """Whatever is confirmed meanwhile."""
    for step in range(60):
        worker = Worker(valkey.url, prefix)
        async with running(worker):
            rooms = [Room("/ws", f"{n}") for n in range(20)]
            joins = [asyncio.create_task(worker.adapter.subscribe(room)) for room in rooms]
            for _ in range(step % 30):
                await asyncio.sleep(0)
        assert "wsroom: Redis" not in [task.get_name() for task in asyncio.all_tasks()]
        await asyncio.gather(*joins, return_exceptions=True)


async def test_what_was_given_up_unsent_is_never_sent(prefix: str) -> None:
    """Redis comes back in the very moment in which two emits of a room are given up."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix)
        async with running(worker):
            await worker.adapter.subscribe(CHAT)
            listener = worker.adapter._listener
            assert listener is not None
            channel = Names(prefix).channel(CHAT)
            await broker.kill()
            await until(lambda: not listener.links.healthy)
            publications = listener.sequencer._publications
            since = asyncio.get_running_loop().time() - DEFAULT_TIMING.redis_timeout
            two = [publications.add(channel, said(text), since) for text in ("one", "two")]
            await until(lambda: all(one.future.done() for one in two))
            await broker.start()
            await until(lambda: listener.links.healthy)
            for one in two:
                publications.remove(one)
                error = one.future.exception()
                assert isinstance(error, AdapterError) and not error.maybe_sent
            await worker.adapter.publish(said("after"))
            await until(lambda: "after" in worker.heard)
        assert not {"one", "two"} & set(worker.heard)


async def test_an_emit_that_waited_for_its_turn_waits_no_longer_than_others(prefix: str) -> None:
    """Its 5 s are counted from the call, whoever is under way."""
    async with brokers.valkey() as broker:
        worker = Worker(broker.url, prefix)
        async with running(worker):
            assert worker.adapter._listener is not None
            publications = worker.adapter._listener.sequencer._publications
            broker.freeze()
            now = asyncio.get_running_loop().time()
            young = publications.add("a", said("x"), now)
            old = publications.add("b", said("y"), now - DEFAULT_TIMING.redis_timeout)
            with pytest.raises(AdapterError, match="did not answer"):
                await old.future
            assert not young.future.done()
            broker.thaw()
            await young.future


async def test_what_is_left_in_a_cluster_is_not_heard(cluster: Cluster, prefix: str) -> None:
    """The word that our own wish was done is not taken for a slot that has moved."""
    worker = Worker(cluster.url, prefix)
    async with running(worker):
        for _ in range(2):
            await worker.adapter.subscribe(CHAT)
            worker.adapter.unsubscribe(CHAT)
        node = await cluster.master(Names(prefix).channel(CHAT))

        async def nothing_is_heard() -> bool:
            return not await node.cli("PUBSUB", "SHARDCHANNELS", f"{prefix}:{{/ws*")

        await eventually(nothing_is_heard)


class Unsteady(topologies.Cluster):
    """A cluster that does not say once where things are, when it is told so."""

    fails = False

    async def refresh(self) -> None:
        if self.fails:
            self.fails = False
            raise RedisConnectionError("the node did not answer")
        await super().refresh()


async def test_a_slot_that_moves_while_nobody_can_say_where_to(
    cluster: Cluster, prefix: str
) -> None:
    """It is asked again, also by a worker that only listens and is connected to all."""
    one, two = Worker(cluster.url, prefix), Worker(cluster.url, prefix)
    client = RedisCluster.from_url(cluster.url.replace("redis+cluster", "redis"))
    one.adapter._topology = unsteady = Unsteady(cluster.url, client, own=True)
    channel = Names(prefix).channel(CHAT)
    async with running(one, two):
        await one.adapter.subscribe(CHAT)
        await two.adapter.publish(said("before"))
        await until(lambda: "before" in one.heard)
        masters, source, target = await two_masters(cluster, channel)
        unsteady.fails = True
        await move(masters, source, target, channel)
        await until(lambda: not unsteady.fails)
        await two.adapter.publish(said("after"))
        await until(lambda: len(one.heard) > 1)  # it, or that it was lost
        await move(masters, target, source, channel)


async def test_names_that_somebody_makes_up_are_soon_forgotten(valkey: Broker, prefix: str) -> None:
    """A room in which nothing was ever said is kept for ten minutes, not for an hour."""
    worker = Worker(valkey.url, prefix)
    async with running(worker):
        for name in ("chat", "made up"):
            await worker.adapter.subscribe(Room("/ws", name))
        await worker.adapter.publish(said("x"))
        ends = [
            await valkey.cli("TTL", f"{prefix}:{{/ws\n{name}}}") for name in ("chat", "made up")
        ]
    assert ends[0] > 3600 and 0 < ends[1] <= 600


async def test_first_emits_fail_together(prefix: str) -> None:
    """One attempt to connect for all, within the time of one."""
    async with AsyncPublisher(
        f"redis://127.0.0.1:{brokers.free_port()}", prefix=prefix
    ) as publisher:
        async with asyncio.timeout(6 * SECOND):
            emits = [publisher.to("chat").emit("noti", number) for number in range(10)]
            ends = await asyncio.gather(*emits, return_exceptions=True)
        assert all(isinstance(end, AdapterError) for end in ends)


async def test_a_publisher_takes_another_event_loop(valkey: Broker, prefix: str) -> None:
    """Where the one before has ended; two at a time are told."""
    publisher = AsyncPublisher(valkey.url, prefix=prefix)

    async def emit() -> None:
        await publisher.to("chat").emit("noti")

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, emit())
    await emit()
    with pytest.raises(RuntimeError, match="one event loop"):
        await asyncio.to_thread(asyncio.run, emit())
    await publisher.close()


async def test_closing_a_publisher_during_its_first_emit() -> None:
    """The emit fails; the task that emits is not cancelled, as nobody asked for that."""
    publisher = AsyncPublisher(f"redis://127.0.0.1:{brokers.free_port()}")
    emitting = asyncio.create_task(publisher.to("chat").emit("noti"))
    await until(lambda: publisher._starting)
    await publisher.close()
    await asyncio.wait([emitting])
    assert not emitting.cancelled() and isinstance(emitting.exception(), AdapterError)


async def test_a_path_that_is_no_text() -> None:
    """It is refused before anything waits for it."""
    publisher = AsyncPublisher("redis://127.0.0.1")
    with pytest.raises(ValueError, match="surrogates"):
        publisher.to("chat", path="/\udcff")


async def test_closing_a_publisher_frees_whoever_waits() -> None:
    """A thread that emits while Redis is away is not left behind."""
    publisher = Publisher(f"redis://127.0.0.1:{brokers.free_port()}")
    emitting = asyncio.create_task(asyncio.to_thread(publisher.to("chat").emit, "noti"))
    await until(lambda: publisher._inner._starting)
    await asyncio.to_thread(publisher.close)
    with pytest.raises(AdapterError, match="closed"):
        await emitting


DIES = """
import asyncio, sys
from wsroom import AdapterError, AsyncPublisher
async def main():
    async with AsyncPublisher(sys.argv[1]) as publisher:
        print("emits", flush=True)
        try:
            await publisher.to("chat").emit("noti")
        except AdapterError as exc:
            print(exc)
asyncio.run(main())
"""


async def test_a_first_emit_has_an_end(tmp_path: Path) -> None:
    """Also where Redis takes the connection, and then says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with program("-c", DIES, url, cwd=tmp_path) as run:
        await run.line("emits")
        assert await run.end(7) == 0
    assert "Redis" in run.output and "Traceback" not in run.output
    server.close()


async def test_a_mounted_app_begins_anew_on_another_event_loop(valkey: Broker, prefix: str) -> None:
    """Each with its own connections, as the loop of the one before has ended."""
    app = WSRoom(RedisAdapter(valkey.url, prefix=prefix))
    app.add_handler("say", lambda emitter: None)

    async def emit() -> Any:
        await app.to("chat").emit("noti")

    for _ in range(3):
        await asyncio.to_thread(asyncio.run, emit())
