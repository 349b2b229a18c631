"""The contract suite as an adapter's author uses it: outside this project, without settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.clock import SECOND
from tests.support.servers import program

BROKEN = """
import asyncio
import pytest
from wsroom import MemoryAdapter
from wsroom.adapters import Adapter, Past
from wsroom.testing.contract import AdapterContract, HistoryContract


class WithoutHistory(MemoryAdapter):
    async def start(self, deliver):
        self._plain = lambda emission, offset: deliver(emission, None)
        await super().start(self._plain)

    async def stop(self, deliver):
        await super().stop(self._plain)

    async def subscribe(self, room):
        await super().subscribe(room)

    read = Adapter.read


class Twice(WithoutHistory):
    async def publish(self, emission):
        await super().publish(emission)
        await super().publish(emission)


class Losing(WithoutHistory):
    async def publish(self, emission):
        if emission.payload != b"b 50":
            await super().publish(emission)


class Deaf(WithoutHistory):
    async def publish(self, emission):
        pass


class Hanging(WithoutHistory):
    async def subscribe(self, room):
        await asyncio.Event().wait()


class Forgetful(MemoryAdapter):
    async def read(self, room, since=None, last=None):
        past = await super().read(room, since, last)
        return past if last else past._replace(complete=True, emissions=())


class Stale(MemoryAdapter):
    async def read(self, room, since=None, last=None):
        return await super().read(room, since, last and last - 1 or last)


class Memory(AdapterContract):
    made = MemoryAdapter

    @pytest.fixture
    def adapters(self):
        return [self.made()] * 2


class TestWithoutHistory(Memory):
    made = WithoutHistory


class TestTwice(Memory):
    made = Twice


class TestLosing(Memory):
    made = Losing


class TestDeaf(Memory):
    timeout = 0.02
    made = Deaf


class TestHanging(Memory):
    timeout = 0.02
    made = Hanging


class TestUndeclared(Memory):
    made = MemoryAdapter


class TestWithHistory(HistoryContract, Memory):
    pass


class TestForgetful(HistoryContract, Memory):
    made = Forgetful


class TestStale(HistoryContract, Memory):
    made = Stale
"""


async def test_the_contract_finds_what_an_adapter_lacks(tmp_path: Path) -> None:
    """It passes adapters that keep it, names the broken promise of others, and never hangs.

    It needs no settings of pytest-asyncio: this is its strict mode.
    """
    (tmp_path / "test_adapters.py").write_text(BROKEN)
    options = ["-q", "-rf", "--asyncio-mode=strict", "-p", "no:cacheprovider"]
    async with program("-m", "pytest", *options, "test_adapters.py", cwd=tmp_path) as run:
        assert await run.end(60 * SECOND) == 1, run.output
    failed = dict[str, set[str]]()
    for line in run.output.splitlines():
        if line.startswith("FAILED"):
            _, of, test = line.split()[1].split("::")
            failed.setdefault(of, set()).add(test)
    assert failed.keys() == {
        "TestTwice", "TestLosing", "TestDeaf", "TestHanging", "TestUndeclared", "TestForgetful",
        "TestStale",
    }, run.output  # fmt: skip
    assert "test_an_emission_reaches_every_worker_once" in failed["TestTwice"]
    assert failed["TestLosing"] == {"test_all_workers_see_one_order"}
    assert "test_a_subscribed_room_misses_nothing" in failed["TestDeaf"]
    assert "was not delivered within 0.02 s" in run.output
    assert len(failed["TestHanging"]) > 5
    assert failed["TestUndeclared"] == {"test_a_room_has_offsets_or_never_has_any"}
    assert "test_reading_continues_from_every_offset" in failed["TestForgetful"]
    assert "test_the_last_emissions_can_be_read" in failed["TestStale"]
    assert "At index 1 diff:" in run.output, "a failed assert shows its values"


def test_wsroom_does_not_import_pytest() -> None:
    """Only `wsroom.testing.contract` does."""
    code = (
        "import sys, wsroom, wsroom.testing, wsroom.client, wsroom.publisher, wsroom.cli.main;"
        "print('pytest' in sys.modules, 'pytest_asyncio' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
