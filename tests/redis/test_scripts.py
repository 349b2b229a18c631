"""The scripts: each emission once, in order, a bounded history; and scripts that Redis forgot."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis.asyncio

from tests.support.adapters import Worker, chat_app, started
from tests.support.brokers import Broker
from tests.support.clock import SECOND
from wsroom import AsyncPublisher, RedisAdapter
from wsroom.adapters import Room
from wsroom.adapters.redis.scripts import MOST_USED, HistorySettings, scripts_for, sequence_keys
from wsroom.testing import TestClient


class Sequence:
    """One sequence, read and written by the scripts alone."""

    def __init__(
        self,
        broker: Broker,
        prefix: str,
        run: str = "run",
        *,
        room: str = "x",
        most_used: int = MOST_USED,
        at: int | None = None,
        **keeping: Any,
    ) -> None:
        """With `at`, the scripts get these seconds as the time."""
        self.broker = broker
        self.keys = sequence_keys(f"{prefix}:{{{room}}}", sharded=False)
        history = HistorySettings(**keeping)
        self.scripts = dict(scripts_for(run, history, sharded=False, most_used=most_used))
        if at is not None:
            for name, script in self.scripts.items():
                assert "redis.call('TIME')" in script.text
                text = script.text.replace("redis.call('TIME')", f"{{'{at}', '5'}}")
                self.scripts[name] = script._replace(text=text)

    async def publish(
        self, by: str, number: int, before: int | str = "", text: str = "", audience: str = ""
    ) -> Any:
        words = (3, *self.keys, by, number, before, f"1 {by} {number}", audience, text)
        return await self.broker.cli("EVAL", self.scripts["publish"].text, *words)

    async def texts(self, *position: Any) -> list[str]:
        """Read, and return the offsets and payloads of the entries."""
        entries = [entry.split("\n") for entry in (await self.read(*position))[3:]]
        return [f"{entry[0]} {entry[3]}" for entry in entries]

    async def read(self, epoch: str = "", seq: int = 0, most: int = 300, newest: int = 0) -> Any:
        words = (3, *self.keys, epoch, seq, most, newest)
        return await self.broker.cli("EVAL", self.scripts["read"].text, *words)


async def test_an_emission_is_carried_out_once(valkey: Broker, prefix: str) -> None:
    """However often it is sent, and never after a later one of the same publisher."""
    room = Sequence(valkey, prefix)
    first, heard = await room.publish("a", 5)
    assert first.endswith(":1") and heard == 0
    assert await room.publish("a", 5) == ""
    assert (await room.publish("b", 1))[0].endswith(":2")
    assert (await room.publish("a", 7, 5))[0].endswith(":3")
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
    assert (await Sequence(valkey, prefix).read(epoch, 0)) == [epoch, 0, 1]
    assert (await Sequence(valkey, prefix, run="other").read(epoch, 0))[1:] == [0, 2]
    epoch = (await Sequence(valkey, prefix).read(epoch, 0))[0]
    await Sequence(valkey, prefix).publish("a", 1)
    trusting = Sequence(valkey, prefix, run="again", trusted=True)
    assert (await trusting.read(epoch, 0))[:3] == [epoch, 1, 1]
    again, seq, complete = await Sequence(valkey, prefix, run="again").read(epoch, 0)
    assert again != epoch and (seq, complete) == (0, 2)
    assert (await Sequence(valkey, prefix, run="third").publish("a", 1))[0].endswith(":1")


async def test_history_is_bounded_by_count_and_bytes(valkey: Broker, prefix: str) -> None:
    """A read returns all emissions since the offset, or none."""
    room = Sequence(valkey, prefix, history=3)
    epoch = (await room.read())[0]
    for number in range(1, 6):
        await room.publish("a", number, text=str(number))
    assert (await room.read(epoch, 1)) == [epoch, 5, 0]
    assert (await room.read(epoch, 2))[2] == 1
    assert await room.texts(epoch, 2) == [f"{epoch}:{n} {n}" for n in (3, 4, 5)]
    assert (await room.read(epoch, 2, 2)) == [epoch, 5, 0]
    assert (await room.read(epoch, 5)) == [epoch, 5, 1]
    assert (await room.read(epoch, 6)) == [epoch, 5, 0]
    assert (await room.read("other", 5)) == [epoch, 5, 0]
    assert (await Sequence(valkey, f"{prefix}2").read("other", 5))[1:] == [0, 2]
    assert (await room.read("other", 9, 2, 1))[:3] == [epoch, 5, 1]
    assert await room.texts("other", 9, 2, 1) == [f"{epoch}:{n} {n}" for n in (4, 5)]
    half = "x" * 600_000
    await room.publish("a", 6, text=half)
    await room.publish("a", 7, text=half)
    assert await valkey.cli("LLEN", room.keys[1]) == 1
    assert (await room.read(epoch, 6))[2] == 1
    assert (await room.read(epoch, 5)) == [epoch, 7, 0]
    await Sequence(valkey, prefix, history=0).publish("a", 8)
    assert (await room.read(epoch, 7)) == [epoch, 8, 0]
    assert (await room.read(epoch, 8)) == [epoch, 8, 1]
    assert (await room.read(epoch, 8, 2, 1)) == [epoch, 8, 1]


async def test_only_the_history_has_the_time(valkey: Broker, prefix: str) -> None:
    """It is a key of the audience, in ms by the server's clock; live messages are not longer."""
    room = Sequence(valkey, prefix)
    epoch = (await room.read())[0]
    async with redis.asyncio.Redis.from_url(valkey.url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(room.keys[0])
        before = await valkey.cli("TIME")
        await room.publish("a", 1, text="one")
        await room.publish("a", 2, text="two", audience='{"rooms":["a"]}')
        after = await valkey.cli("TIME")
        live: list[str] = []
        while len(live) < 2:
            message = await pubsub.get_message(timeout=10 * SECOND)
            if message and message["type"] == "message":
                live.append(message["data"].decode())
    head = [f"{epoch}:{n}\n1 a {n}\n" for n in (1, 2)]
    assert live == [f"{head[0]}\none", f'{head[1]}{{"rooms":["a"]}}\ntwo']
    one, two = [json.loads(entry.split("\n")[2]) for entry in (await room.read(epoch, 0))[3:]]
    assert one.keys() == {"time"} and two.keys() == {"rooms", "time"}
    times = [int(s) * 1000 + int(us) // 1000 for s, us in (before, after)]
    assert times[0] <= one["time"] <= two["time"] <= times[1]


async def test_publishers_are_forgotten(valkey: Broker, prefix: str) -> None:
    """The state keeps recent publishers only, so it does not grow for ever."""
    room = Sequence(valkey, prefix)
    await room.publish("a0", 1)
    for number in range(70):
        await valkey.cli("HSET", room.keys[0], f"by:b{number}", "1 1000")
    await room.publish("a1", 1)
    fields = await valkey.cli("HKEYS", room.keys[0])
    assert {name for name in fields if name.startswith("by:")} == {"by:a0", "by:a1"}


async def test_a_flush_of_the_scripts_in_a_burst_changes_nothing(
    valkey: Broker, prefix: str
) -> None:
    """Refused emissions of the burst are sent again in their order."""
    async with TestClient(chat_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            target = publisher.to("chat")
            for start in range(0, 1000, 50):
                emits = [target.emit("noti", n) for n in range(start, start + 50)]
                await asyncio.gather(*emits, valkey.cli("SCRIPT", "FLUSH"))
        for number in range(1000):
            assert await a.expect("noti") == number


async def test_volatile_messages_never_overtake(valkey: Broker, prefix: str) -> None:
    """Those whose predecessor was refused and is sent again are dropped, on each worker."""
    apps = [chat_app(RedisAdapter(valkey.url, prefix=prefix, history=1000)) for _ in range(2)]
    async with TestClient(apps[0]) as one, TestClient(apps[1]) as two:
        members = [await client.connect("/ws") for client in (one, two)]
        for member in members:
            await member.join("chat")
        target = apps[0].to("chat")
        for start in range(0, 500, 50):
            await valkey.cli("SCRIPT", "FLUSH")  # so that the first of the burst is refused
            kill = valkey.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            emits = [target.emit("noti", n, volatile=n % 2 == 1) for n in range(start, start + 50)]
            await asyncio.gather(*emits, kill)
        await target.emit("noti", 500)
        for member in members:
            numbers = [await member.expect("noti", timeout=10 * SECOND)]
            while numbers[-1] != 500:
                numbers.append(await member.expect("noti", timeout=10 * SECOND))
            assert numbers == sorted(set(numbers))
            assert [n for n in numbers if n % 2 == 0] == list(range(0, 501, 2))


async def test_connections_killed_in_a_burst_change_nothing(valkey: Broker, prefix: str) -> None:
    """An emission that was executed but not answered is not executed again."""
    async with TestClient(
        chat_app(RedisAdapter(valkey.url, prefix=prefix, history=1000))
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


async def test_joins_while_scripts_are_forgotten(valkey: Broker, prefix: str) -> None:
    """A command that finds a script missing is sent again, at any moment of the reload."""
    worker = Worker(valkey.url, prefix)
    async with started(worker):
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


async def test_a_refused_emission_begins_nothing(valkey: Broker, prefix: str) -> None:
    """One whose predecessor is missing leaves no key, also if it is the room's first."""
    room = Sequence(valkey, prefix)
    with pytest.raises(redis.ResponseError, match="is missing"):
        await room.publish("c", 2, 1)
    assert await valkey.cli("EXISTS", *room.keys) == 0


async def test_positions_do_not_depend_on_the_clock(valkey: Broker, prefix: str) -> None:
    """It may be turned back: what continued from a position does so, and nothing else."""
    rooms = [Sequence(valkey, prefix, at=seconds) for seconds in (2_000_000_000, 1_000_000_000)]
    now, back = rooms
    epoch, seq, _ = await now.read()
    assert (await back.read(epoch, seq)) == [epoch, 0, 1]
    await back.publish("a", 1, text="one")
    assert await now.texts(epoch, 0) == [f"{epoch}:1 one"]
    await valkey.cli("DEL", *back.keys[:2])
    again = (await back.read(epoch, 0))[0]
    assert again != epoch
    assert [(await now.read(epoch, seq))[2] for seq in (0, 1)] == [2, 2]
    await now.publish("a", 1, text="two")
    assert (await back.read(epoch, 0))[2] == 2
    assert await back.texts(again, 0) == [f"{again}:1 two"]


async def test_the_set_of_rooms_is_bounded(valkey: Broker, prefix: str) -> None:
    """A room that was removed from it counts as one that may have had a state."""
    rooms = [Sequence(valkey, prefix, room=str(number), most_used=20) for number in range(40)]
    first = await rooms[0].read()
    await rooms[0].publish("a", 1)
    await valkey.cli("DEL", *rooms[0].keys[:2])
    seen = []
    for number, room in enumerate(rooms[1:], 1):
        seen.append((await rooms[0].read(*first[:2]))[2])
        before = (await room.read())[:2]
        await room.publish("a", number)
        assert (await room.read(*before))[1:3] == [1, 1]
        assert await valkey.cli("ZCARD", room.keys[2]) <= 2 + 20 + 1
    assert seen == [2] * 39, "its only emission is lost"
    unused = Sequence(valkey, prefix, room="unused", most_used=20)
    positions = [(await unused.read())[:2]]
    for number in range(40, 70):
        await Sequence(valkey, prefix, room=str(number), most_used=20).publish("a", 1)
        positions.append((await unused.read())[:2])
    assert len({epoch for epoch, _ in positions}) < 20, "rounded"
    continuous = [(await unused.read(*position))[2] == 1 for position in positions]
    assert continuous == sorted(continuous), "the older ones are refused"
    assert 10 < sum(continuous) < 25
