"""MemoryAdapter passes the contract, with two workers on one adapter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.clock import SECOND
from wsroom import Adapter, MemoryAdapter
from wsroom.adapters import Emission, Offset
from wsroom.testing.contract import HistoryContract, PresenceContract, emission


class TestMemoryAdapter(HistoryContract, PresenceContract):
    timeout = 10 * SECOND

    @pytest.fixture
    def adapters(self) -> list[Adapter]:
        return [MemoryAdapter()] * 2


def test_memory_is_not_shared_between_processes() -> None:
    """Therefore several workers refuse to start."""
    assert MemoryAdapter.shared is False and Adapter.shared is True


async def test_an_abandoned_start_gets_nothing() -> None:
    """Other apps on the adapter go on. It can start again, and need not have started."""
    adapter = MemoryAdapter()
    delivered: list[str] = []

    def one(emission: Emission, offset: Offset | None) -> None:
        delivered.append("one")

    def two(emission: Emission, offset: Offset | None) -> None:
        delivered.append("two")

    adapter.abandon(one)
    await adapter.start(one)
    await adapter.start(two)
    adapter.abandon(one)
    await adapter.publish(emission("hello"))
    assert delivered == ["two"]
    await adapter.start(one)
    await adapter.publish(emission("hello"))
    assert delivered == ["two", "two", "one"]


KEEP = """
import asyncio, os
from wsroom import Emitter, MemoryAdapter, WSRoom
from wsroom.testing import TestClient

app = WSRoom(MemoryAdapter(history=1000))

@app.on("say")
async def say(emitter: Emitter, message: int) -> None:
    for number in range(message):
        target = emitter.to(f"room {number % 90}")
        await target.emit_except_sender("said", {"text": "hello", "number": number})

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main() -> None:
    async with TestClient(app) as client:
        a = await client.connect()
        for number in range(90):
            await a.join(f"room {number}")
        await a.request("say", 1000, timeout=60)
        before = resident()
        await a.request("say", 40_000, timeout=60)
        print((resident() - before) / 40_000)

asyncio.run(main())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells it in /proc")
def test_a_message_that_is_kept_takes_what_it_needs() -> None:
    """Not the 4 kB in which orjson wrote it."""
    command = [sys.executable, "-c", KEEP]
    output = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert float(output.stdout) < 1500, output.stdout
