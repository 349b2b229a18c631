"""Presence through Redis: on several workers, and through faults of Redis and of workers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.faults.run import fault_run
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.clock import QUICK, SECOND, until
from tests.support.presence import known_members
from wsroom import AsyncPublisher, Emitter, RedisAdapter, Socket, WSRoom
from wsroom.adapters import Room
from wsroom.testing import TestClient, TestConnection
from wsroom.timing import Timing
from wsroom.wire.presence import Enter, Leave

GRACE = 0.5 * SECOND

FAST = dataclasses.replace(
    QUICK,
    presence_interval=0.02 * SECOND,
    presence_retry=0.1 * SECOND,
    presence_lost=0.5 * SECOND,
    presence_stamp=0.1 * SECOND,
    presence_check=1 * SECOND,
)


def make_app(broker: Broker, prefix: str, timing: Timing) -> WSRoom:
    app = WSRoom(RedisAdapter(broker.url, prefix=prefix, _timing=timing), _timing=timing)

    @app.presence("board", grace=GRACE)
    async def card(socket: Socket, room: str) -> dict[str, Any]:
        return {"id": socket.query["name"]}

    @app.on("set")
    async def change(emitter: Emitter, message: dict[str, Any]) -> None:
        await emitter.socket.update_presence("board", message)

    return app


@contextlib.asynccontextmanager
async def workers(
    broker: Broker, prefix: str, number: int = 2, timing: Timing = FAST
) -> AsyncIterator[list[TestClient]]:
    """Workers of one app, in this process."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                TestClient(make_app(broker, prefix, timing), timeout=10 * SECOND)
            )
            for _ in range(number)
        ]


async def join(client: TestClient, name: str) -> TestConnection:
    connection = await client.connect(query={"name": name})
    await connection.join("board")
    return connection


async def all_know(connections: list[TestConnection], *names: str) -> None:
    """Wait until each of these clients knows exactly these members."""
    for each in connections:
        await until(partial(_knows, each, {*names}))


def _knows(connection: TestConnection, names: set[str]) -> bool:
    return known_members(connection.frames, "board").keys() == names


def _shows(connection: TestConnection, card: dict[str, Any]) -> bool:
    return bool(known_members(connection.frames, "board")[card["id"]] == card)


async def test_workers_show_one_list(valkey: Broker, prefix: str) -> None:
    """Joins, changes and leaves reach the clients of both, and publishers can ask."""
    async with workers(valkey, prefix) as (one, two):
        ann, bob = await join(one, "ann"), await join(two, "bob")
        await bob.request("set", {"typing": [], "n": 2**60})
        await until(lambda: "n" in known_members(ann.frames, "board").get("bob", ()))
        card = {"id": "bob", "typing": [], "n": 2**60}
        assert known_members(ann.frames, "board") == {"ann": {"id": "ann"}, "bob": card}
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            assert {each["id"] for each in await publisher.to("board").members()} == {"ann", "bob"}
            assert await publisher.to("board").count() == 2
        await bob.close()
        await all_know([ann], "ann")


async def test_a_room_that_nobody_entered_has_no_key(valkey: Broker, prefix: str) -> None:
    """Nor has one without presence; all keys of the others have an end."""
    async with workers(valkey, prefix) as (one, _):
        app: Any = one.app
        assert await app.to("board", "other").members() == []
        ann = await one.connect(query={"name": "ann"})
        await ann.join("plain")
        keys = f"{prefix}:*:presence"
        assert await valkey.cli("KEYS", keys) == []
        await ann.join("board")
        [table] = await valkey.cli("KEYS", keys)
        assert await valkey.cli("TTL", table) > 60
        await ann.leave("board")
        await until(lambda: not one._busy())
        assert 0 < await valkey.cli("TTL", table) <= 60
        for name in await valkey.cli("KEYS", f"{prefix}:*"):
            assert await valkey.cli("TTL", name) > 0, name


async def test_any_worker_ends_a_grace(valkey: Broker, prefix: str) -> None:
    """The one that lost the connection may have stopped; a return on another one is no news."""
    async with workers(valkey, prefix) as (one, two):
        ann, bob, cay = await join(one, "ann"), await join(two, "bob"), await join(two, "cay")
        await all_know([ann], "ann", "bob", "cay")
        await cay.cut()
        await bob.cut()
        await two.settle()
        await two._presence.stop()
        seen = len(ann.frames)
        back = await join(one, "cay")
        await all_know([ann, back], "ann", "cay")
        left = [f["message"]["left"] for f in ann.frames[seen:] if f["event"] == "presence"]
        assert [names for names in left if names] == [["bob"]]


async def test_a_late_call_does_nothing(valkey: Broker, prefix: str) -> None:
    """A call with a lower number than one that was carried out, even if the table is empty."""
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    room = Room("/ws", "board")

    def deliver(*_: Any) -> None: ...

    await adapter.start(deliver)
    try:
        enter = Enter("ws:a.1", "1", {"id": 1})
        await adapter.change_presence(room, "ws:a", 3, [enter], whole=True)
        await adapter.change_presence(room, "ws:a", 5, [Leave("ws:a.1")], whole=True)
        late = await adapter.change_presence(room, "ws:a", 4, [enter], whole=True)
        assert late.table is not None and late.table.members == {}
        again = await adapter.change_presence(room, "ws:a", 6, [enter], whole=True)
        assert again.table is not None and again.table.members == {"1": {"id": 1}}
    finally:
        await adapter.stop(deliver)


async def test_a_flushed_redis_heals() -> None:
    """All tables are lost: workers write them again, and nobody flickers."""
    async with brokers.valkey() as broker, workers(broker, "x") as (one, two):
        ann, bob = await join(one, "ann"), await join(two, "bob")
        await all_know([ann, bob], "ann", "bob")
        await bob.request("set", {"n": 1})
        await until(lambda: "n" in known_members(ann.frames, "board")["bob"])
        seen = len(ann.frames)
        await broker.cli("FLUSHALL")
        app: Any = one.app

        async def written() -> bool:
            return {card["id"] for card in await app.to("board").members()} == {"ann", "bob"}

        await brokers.eventually(written)
        cay = await join(two, "cay")
        await all_know([ann, bob, cay], "ann", "bob", "cay")
        assert known_members(ann.frames, "board")["bob"] == {"id": "bob", "n": 1}
        later = [f["message"] for f in ann.frames[seen:] if f["event"] == "presence"]
        assert all(not message["left"] for message in later)


async def test_a_restarted_redis_heals() -> None:
    """Who left while it was away has left."""
    async with brokers.valkey() as broker, workers(broker, "x") as (one, two):
        ann, bob, cay = await join(one, "ann"), await join(two, "bob"), await join(two, "cay")
        await all_know([ann], "ann", "bob", "cay")
        await broker.kill()
        await cay.emit("leaveRoom", "board")
        await broker.start()
        await all_know([ann, bob], "ann", "bob")


async def test_cut_connections_heal() -> None:
    """Changes that were published meanwhile are read from the table."""
    # While it reconnects, no worker is taken for dead.
    timing = dataclasses.replace(FAST, presence_stamp=2 * SECOND)
    async with brokers.valkey() as broker, workers(broker, "x", timing=timing) as (one, two):
        ann, bob = await join(one, "ann"), await join(two, "bob")
        for number in range(10):
            await broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
            await bob.request("set", {"n": number})
            card = {"id": "bob", "n": number}
            await until(partial(_shows, ann, card))
        await broker.cli("CLIENT", "KILL", "TYPE", "normal")
        await bob.leave("board")
        await all_know([ann], "ann")


class Page:
    """A client of a worker in a process."""

    def __init__(self, connection: ClientConnection) -> None:
        self.frames: list[dict[str, Any]] = []
        self.connection = connection
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for text in self.connection:
            self.frames.append(json.loads(text))

    async def join(self) -> None:
        frame = {"event": "joinRoom", "message": "people", "id": 1}
        await self.connection.send(json.dumps(frame))
        await until(lambda: any(frame["event"] == "reply" for frame in self.frames))

    @property
    def members(self) -> set[Any]:
        return known_members(self.frames, "people").keys() | set()


@contextlib.asynccontextmanager
async def page(url: str, name: str) -> AsyncIterator[Page]:
    """A client of a worker in a process, in the room `people`."""
    async with connect(f"{url}?name={name}") as connection:
        made = Page(connection)
        try:
            await made.join()
            yield made
        finally:
            made.reading.cancel()


async def test_a_killed_worker_is_noticed() -> None:
    """Its members are gone for those of the others, and only its own."""
    async with (
        brokers.valkey() as broker,
        fault_run(broker.url, members=0, publishers=0, timing=FAST) as run,
    ):
        one, two = run.workers
        async with page(one.url, "ann") as ann, page(two.url, "bob"), page(two.url, "ann"):
            await until(lambda: ann.members == {"ann", "bob"})
            await two.kill()
            await until(lambda: ann.members == {"ann"})
            await two.start()
            async with page(two.url, "cay") as cay:
                await until(lambda: ann.members == cay.members == {"ann", "cay"})


async def test_a_frozen_worker_writes_its_members_again() -> None:
    """It was taken for dead."""
    async with (
        brokers.valkey() as broker,
        fault_run(broker.url, members=0, publishers=0, timing=FAST) as run,
    ):
        one, two = run.workers
        async with page(one.url, "ann") as ann, page(two.url, "bob") as bob:
            await until(lambda: ann.members == {"ann", "bob"})
            two.freeze()
            await until(lambda: ann.members == {"ann"})
            two.thaw()
            await until(lambda: ann.members == bob.members == {"ann", "bob"})


async def test_a_stopped_worker_leaves_graces() -> None:
    """A restart with SIGTERM is no news for who is back within the grace."""
    async with (
        brokers.valkey() as broker,
        fault_run(broker.url, members=0, publishers=0, timing=FAST) as run,
    ):
        one, two = run.workers
        async with page(one.url, "ann") as ann, page(two.url, "bob"), page(two.url, "cay"):
            await until(lambda: ann.members == {"ann", "bob", "cay"})
            seen = len(ann.frames)
            await two.stop()
            async with page(one.url, "bob") as bob:
                await until(lambda: ann.members == bob.members == {"ann", "bob"})
            left = [f["message"]["left"] for f in ann.frames[seen:] if f["event"] == "presence"]
            assert next(filter(None, left)) == ["cay"]


@pytest.mark.parametrize("seed", range(3))
async def test_lists_equal_the_truth_after_random_faults(seed: int) -> None:
    """Joins, leaves, cuts, changes; connections killed, tables flushed: at rest all lists agree."""
    dice = random.Random(seed)
    async with brokers.valkey() as broker, workers(broker, "x", 3) as clients:
        present: list[tuple[str, TestConnection]] = []
        changes = 0
        for step in range(150):
            kind = dice.choices(
                ["join", "leave", "cut", "set", "kill", "flush"], [40, 15, 15, 25, 4, 1]
            )[0]
            if kind == "kill":
                await broker.cli("CLIENT", "KILL", "TYPE", dice.choice(["pubsub", "normal"]))
            elif kind == "flush" or step == 75:
                await broker.cli("FLUSHALL")
            elif kind == "join" and len(present) < 12:
                name = f"m{dice.randrange(10)}"
                present.append((name, await join(dice.choice(clients), name)))
            elif present:
                index = dice.randrange(len(present))
                _, connection = present[index]
                if kind == "set":
                    changes += 1
                    await connection.request("set", {"n": changes})
                    continue
                del present[index]
                await (connection.cut() if kind == "cut" else connection.leave("board"))
        names = {name for name, _ in present}
        seen = [await join(client, "last") for client in clients]
        everyone = [*(connection for _, connection in present), *seen]
        await all_know(everyone, *names, "last")
        app: Any = clients[0].app

        async def equal() -> bool:
            cards = {card["id"]: card for card in await app.to("board").members()}
            lists = [known_members(each.frames, "board") for each in everyone]
            return all(known == cards for known in lists) and cards.keys() == {*names, "last"}

        await brokers.eventually(equal)
