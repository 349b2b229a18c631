"""Memory and Redis take the same random steps, and have the same tables and notices."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.brokers import Broker
from tests.support.clock import until
from wsroom import MemoryAdapter, RedisAdapter
from wsroom.adapters import PRESENCE, Emission, Offset, Room
from wsroom.wire.presence import Bury, Enter, Leave, Notice, Step, Update, member_key

ROOM = Room("/ws", "board")
WORKERS = ("ws:a", "ws:b")


def random_step(dice: random.Random, worker: str) -> Step:
    socket = f"{worker}.{dice.randrange(4)}"
    id: Any = dice.choice([1, "1", "é"])
    value: Any = dice.choice([0, [], {}, "x\ny", None, 2**53 + 1, {"a": [None]}])
    kind = dice.choices(["enter", "update", "leave", "grace", "bury"], [35, 25, 20, 15, 5])[0]
    if kind == "enter":
        return Enter(socket, member_key(id), {"id": id, "n": dice.randrange(3), "v": value})
    if kind == "update":
        return Update(socket, {dice.choice(["n", "v", "w"]): value, "z": dice.randrange(2)})
    if kind == "bury":
        return Bury(dice.choice(WORKERS))
    return Leave(socket, 3600.0 if kind == "grace" else 0.0)


@pytest.mark.parametrize("seed", range(5))
async def test_both_have_the_same_tables(valkey: Broker, prefix: str, seed: int) -> None:
    """After each call: the members, the workers, the position, and what was delivered."""
    dice = random.Random(seed)
    adapters: list[Any] = [MemoryAdapter(), RedisAdapter(valkey.url, prefix=prefix)]
    notices: list[list[Notice]] = [[], []]

    def deliver_to(index: int) -> Any:
        def deliver(emission: Emission, offset: Offset | None) -> None:
            if emission.kind == PRESENCE and emission.payload:
                notices[index].append(Notice.decode(emission.payload)._replace(epoch="", due=None))

        return deliver

    delivers = [deliver_to(0), deliver_to(1)]
    for adapter, deliver in zip(adapters, delivers, strict=True):
        await adapter.start(deliver)
        await adapter.subscribe(ROOM)
    keeper = Enter("ws:a.keeper", '"keeper"', {"id": "keeper"})  # else the epoch may end
    try:
        for number in range(150):
            worker = dice.choice(WORKERS)
            steps = [random_step(dice, worker) for _ in range(dice.randrange(1, 4))]
            if number == 0:
                worker, steps = WORKERS[0], [keeper]
            elif any(isinstance(step, Bury) for step in steps):
                worker, steps = WORKERS[0], [*steps, keeper]
            memory, redis = [
                await adapter.change_presence(ROOM, worker, number + 1, steps, whole=True)
                for adapter in adapters
            ]
            assert memory.table == redis.table, steps
            assert (memory.due is None) == (redis.due is None)
            # In Redis another order of a card's keys is a change.
            assert redis.position >= memory.position, steps
        await until(lambda: notices[1] and notices[1][-1].position == redis.position)
        lists = []
        for found in notices:
            members: dict[str, Any] = {}
            for notice in found:
                members |= notice.members
            lists.append({member: card for member, card in members.items() if card is not None})
        assert lists[0] == lists[1] == redis.table.members
        assert [notice.position for notice in notices[1]] == list(range(1, redis.position + 1))
    finally:
        for adapter, deliver in zip(adapters, delivers, strict=True):
            await adapter.stop(deliver)
