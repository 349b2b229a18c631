"""What the adapter keeps in Redis, and what it subscribes to there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import brokers
from tests.support.adapters import chat_app
from tests.support.brokers import Broker
from wsroom import RedisAdapter
from wsroom.testing import TestClient


async def test_every_key_has_an_end(valkey: Broker, prefix: str) -> None:
    """Every key expires, and begins with the prefix."""
    async with TestClient(chat_app(RedisAdapter(valkey.url, prefix=prefix, ttl=7))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        await a.request("say", {"room": "chat", "text": "hi"})
        await a.request("say", {"room": a.id, "text": "hi"})
        await a.request("say", {"room": "nobody", "text": "hi"})
    names = await valkey.cli("KEYS", f"{prefix}:*")
    ends = {name: await valkey.cli("TTL", name) for name in names}
    # Settings, the set of rooms; the worker and two rooms: their states, and what was said there.
    assert len(ends) == 1 + 1 + 3 + 3
    assert all(end > 0 for end in ends.values()), ends
    assert max(end for name, end in ends.items() if name.endswith(":history")) <= 8


async def test_only_rooms_with_members_are_subscribed(valkey: Broker, prefix: str) -> None:
    """A worker without members of a room is not subscribed to it."""

    async def subscribed() -> set[str]:
        channels = await valkey.cli("PUBSUB", "CHANNELS", f"{prefix}:*")
        return {
            name.partition("\n")[2][:-1]
            for name in channels
            if "\nws:" not in name and "\n" in name
        }

    async with TestClient(chat_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        assert await subscribed() == set()
        a, b = await client.connect("/ws"), await client.connect("/ws")
        await a.join("chat", "news")
        await b.join("chat")
        assert await subscribed() == {"", "chat", "news"}
        await a.leave("chat", "news")
        await brokers.eventually(lambda: _is(subscribed, {"", "chat"}))
        await b.close()
        await brokers.eventually(lambda: _is(subscribed, {""}))
        await a.close()
        await brokers.eventually(lambda: _is(subscribed, set()))


async def _is(ask: Any, wanted: set[str]) -> bool:
    return bool(await ask() == wanted)


async def test_prefixes_and_foreign_messages(
    valkey: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Apps with different prefixes do not meet; foreign messages are counted and dropped."""
    adapter = RedisAdapter(valkey.url, prefix=prefix)
    other = RedisAdapter(valkey.url, prefix=f"{prefix}2")
    async with TestClient(chat_app(adapter)) as one, TestClient(chat_app(other)) as two:
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
    assert len([record for record in caplog.records if "not from wsroom" in record.message]) == 1


async def test_a_record_of_a_later_release_keeps_its_place(valkey: Broker, prefix: str) -> None:
    """It is ignored, and does not count as a gap."""
    async with TestClient(chat_app(RedisAdapter(valkey.url, prefix=prefix))) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        epoch = a.offsets["chat"].split(":")[0]
        channel = f"{prefix}:{{/ws\nchat}}"
        await a.request("say", {"room": "chat", "text": "hi"})
        await valkey.cli("HINCRBY", channel, "seq", 1)
        await valkey.cli("PUBLISH", channel, f"{epoch}:2\n2 ab 1\nwhatever\n\n")
        await a.request("say", {"room": "chat", "text": "ho"})
        assert [await a.expect("said") for _ in range(2)] == ["hi", "ho"]
        assert a.offsets["chat"] == f"{epoch}:3"
