"""Redis users with an ACL: which permissions are enough, and what happens without one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from tests.support import brokers
from tests.support.adapters import CHAT, Worker, assert_works, emission, started
from tests.support.brokers import Broker
from tests.support.clock import QUICK
from tests.support.paths import DOCS
from wsroom import AdapterError, AsyncPublisher, RedisAdapter
from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.scripts import HistorySettings, scripts_for, sequence_keys


async def test_an_acl_may_be_narrow(prefix: str) -> None:
    """The permissions in docs/scaling.md are enough, and nothing outside the prefix is used."""
    page = (DOCS / "scaling.md").read_text()
    line = next(line for line in page.splitlines() if "A user with an ACL" in line)
    rights = " ".join(re.findall(r"`([^`]+)`", line)).replace("wsroom:*", f"{prefix}:*")
    async with brokers.valkey(user=f"app on >pw -@all {rights}") as broker:
        await assert_works(RedisAdapter(f"redis://app:pw@127.0.0.1:{broker.port}", prefix=prefix))


def test_the_scripts_use_the_commands_that_are_documented() -> None:
    """Also those that `assert_works` does not need."""
    [line] = [line for line in (DOCS / "scaling.md").read_text().splitlines() if "an ACL" in line]
    scripts = scripts_for("run", HistorySettings(), sharded=False).values()
    used = {name for each in scripts for name in re.findall(r"redis\.call\('(\w+)'", each.text)}
    assert used and {name.lower() for name in used} <= set(re.findall(r"\+(\w+)", line))


async def test_a_command_that_is_not_allowed_is_named(prefix: str) -> None:
    """If the scripts need a command that those of a former release did not."""
    async with brokers.valkey(user="app on >pw ~* &* +@all -zmscore") as broker:
        worker = Worker(f"redis://app:pw@127.0.0.1:{broker.port}", prefix, _timing=QUICK)
        async with started(worker):
            with pytest.raises(AdapterError, match="no permissions to run the 'zmscore'"):
                await worker.adapter.subscribe(CHAT)


@contextlib.asynccontextmanager
async def without_channels(prefix: str) -> AsyncIterator[tuple[Broker, Worker]]:
    """A worker whose Redis user may use no channel but that of its own heartbeat."""
    rights = f"on >pw ~* &{prefix}:beat* -@all +@all"
    async with brokers.valkey(user=f"app {rights}") as broker:
        worker = Worker(f"redis://app:pw@127.0.0.1:{broker.port}", prefix, _timing=QUICK)
        async with started(worker):
            yield broker, worker


async def test_a_missing_permission_is_named(prefix: str) -> None:
    """The error names the missing permission, and the worker does not flood the server."""
    async with without_channels(prefix) as (broker, worker):
        with pytest.raises(AdapterError, match="No permissions"):
            await worker.adapter.subscribe(CHAT)
        connections = (await broker.info("stats"))["total_connections_received"]
    assert connections < 200


async def test_a_message_that_may_not_be_published_is_refused_as_a_whole(prefix: str) -> None:
    """The script changes nothing, so the emission may be sent again."""
    async with without_channels(prefix) as (broker, worker):
        for _ in range(2):
            with pytest.raises(AdapterError, match=r"refused: .*may not publish to the channel"):
                await worker.adapter.publish(emission("x"))
        assert worker.adapter._receiver is not None
        channel = RedisNames(prefix).channel(CHAT)
        keys = sequence_keys(channel, sharded=False)
        words = ("publish", *keys, "somebody", 1, "", b"a record")
        for _ in range(2):
            with pytest.raises(AdapterError, match="may not publish"):
                await worker.adapter._receiver.servers.ask(channel, words)
        assert await broker.cli("EXISTS", *keys) == 0


async def test_a_permission_that_is_granted_later_is_enough(prefix: str) -> None:
    """A publication that failed halfway has not broken its room."""
    async with brokers.valkey(user="app on >pw ~* &* +@all -rpush") as broker:
        url = f"redis://app:pw@127.0.0.1:{broker.port}"
        async with AsyncPublisher(url, prefix=prefix) as publisher:
            with pytest.raises(AdapterError, match="refused"):
                await publisher.to("chat").emit("noti")
            await broker.cli("ACL", "SETUSER", "app", "+rpush")
            await publisher.to("chat").emit("noti")
