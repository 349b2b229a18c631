"""SendWriter with a `send` that the test controls."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import QUICK, SECOND, until
from tests.support.fakes import Owner
from wsroom.asgi.types import Message
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.outbox import Outbox
from wsroom.delivery.send_writer import SendWriter


class Wire:
    """An ASGI `send` that can be stopped, and records what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.owner = Owner()
        self.writer = SendWriter("ws:1", "/ws", self.send, Outbox(1000, QUICK), self.owner)

    async def send(self, message: Message) -> None:
        await self.flowing.wait()
        await asyncio.sleep(0)
        self.sent.append(message.get("text") or message.get("code"))

    def write(self, text: str) -> None:
        self.writer.write(PreparedFrame(text.encode()))


async def test_early_frames_are_sent_after_the_first() -> None:
    """Frames are held until the handshake is done."""
    wire = Wire()
    wire.write("early")
    await asyncio.sleep(0)
    assert wire.sent == []
    wire.writer.open(PreparedFrame(b"connected"))
    wire.write("late")
    await until(lambda: len(wire.sent) == 3)
    assert wire.sent == ["connected", "early", "late"]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["write", "tick", "stop", "flow"]), max_size=40))
def test_any_sequence_arrives_in_order_and_complete(steps: list[str]) -> None:
    """At any pace of the wire; the close comes last."""

    async def play() -> None:
        wire = Wire()
        wire.writer.open(PreparedFrame(b"0"))
        written = ["0"]
        for step in steps:
            if step == "write":
                written.append(str(len(written)))
                wire.write(written[-1])
            elif step == "tick":
                await asyncio.sleep(0)
            elif step == "stop":
                wire.flowing.clear()
            else:
                wire.flowing.set()
        wire.writer.close(4000, "")
        wire.write("too late")
        wire.flowing.set()
        await until(lambda: wire.sent[-1:] == [4000])
        assert wire.sent == [*written, 4000]

    asyncio.run(play())


async def test_a_socket_that_does_not_shrink_is_slow() -> None:
    """It was over the limit at two checks and did not shrink; a burst that drains is not slow."""
    wire = Wire()
    wire.writer.open(PreparedFrame(b"0"))
    for _ in range(20):
        wire.write("x" * 100)
    await until(lambda: len(wire.sent) == 21)
    wire.flowing.clear()
    for _ in range(20):
        wire.write("x" * 100)
    await until(lambda: wire.owner.codes)
    assert wire.owner.codes == [1013]
    wire.writer.drop()
    wire.flowing.set()
    wire.writer.close(1013, "")
    await until(lambda: wire.sent[-1:] == [1013])
    assert len(wire.sent) == 22
    await wire.writer.stop()


async def test_a_socket_that_shrinks_gets_more_time() -> None:
    """It is still over the limit, but has less unsent than at the last check."""
    permits = asyncio.Semaphore(0)
    owner = Owner()

    async def send(message: Message) -> None:
        await permits.acquire()

    writer = SendWriter("ws:1", "/ws", send, Outbox(1000, QUICK), owner)
    writer.open(PreparedFrame(b"0"))
    for _ in range(30):
        writer.write(PreparedFrame(b"x" * 100))
    await until(lambda: writer._peak)
    first = writer._peak
    for _ in range(5):
        permits.release()
    await until(lambda: 0 < writer._peak < first)
    assert not owner.codes and writer._peak > 1000
    await asyncio.wait_for(owner.asked.wait(), 10 * SECOND)
    await writer.stop()


async def test_a_flood_is_slow_at_once() -> None:
    """16 times the limit bounds the unsent bytes between two checks."""
    wire = Wire()
    wire.writer.open(PreparedFrame(b"0"))
    wire.flowing.clear()
    async with asyncio.timeout(SECOND):
        while not wire.owner.codes:
            wire.write("x" * 1000)
            await asyncio.sleep(0)
    assert wire.writer._unsent <= 18_000
    await wire.writer.stop()


async def test_a_send_that_fails_ends_the_writing() -> None:
    """Servers report in many ways that the peer has gone; `send` must not raise that elsewhere."""

    async def send(message: Message) -> None:
        raise ConnectionResetError

    owner = Owner()
    writer = SendWriter("ws:1", "/ws", send, Outbox(1000, QUICK), owner)
    writer.open(PreparedFrame(b"0"))
    writer.write(PreparedFrame(b"1"))
    await until(lambda: writer._ended)
    writer.write(PreparedFrame(b"2"))
    writer.close(1000, "")
    await asyncio.sleep(0)
    assert not writer._queue and not owner.codes
    await writer.stop()
