"""`Limits.joins`: joins beyond it wait, and are not refused."""

from __future__ import annotations

import time

import pytest

from wsroom import Limits, Reject, Socket, WSRoom
from wsroom.testing import Refused, TestClient
from wsroom.timing import Timing


async def test_joins_over_the_limit_wait() -> None:
    """Refused ones count; the guard is asked for each, at the rate."""
    app = WSRoom(limits=Limits(joins=20, rooms_per_socket=2))
    asked: list[float] = []

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        asked.append(time.monotonic())
        if room == "vip":
            raise Reject("members only")

    async with TestClient(app, timeout=5) as client:
        one, two = await client.connect(), await client.connect()
        for _ in range(6):
            with pytest.raises(Refused, match="members only"):
                await one.join("vip")
        assert asked[1] - asked[0] < 0.05  # as many at once as there may be rooms
        assert asked[-1] - asked[0] > 4 / 20 - 0.01
        begin = time.monotonic()
        await two.join("chat")  # another client's joins are its own
        assert time.monotonic() - begin < 0.05
        await one.join("chat")
        assert asked[-1] - asked[0] > 5 / 20 - 0.01


async def test_a_resume_is_one_join() -> None:
    """However many rooms it has: one by one these would take some seconds."""
    app = WSRoom(limits=Limits(joins=1, rooms_per_socket=3))
    app.add_handler("say", lambda emitter: None)
    async with TestClient(app) as client:
        one = await client.connect()
        await one.join("a", "b", "c")
        two = await client.connect(subprotocols=["wsroom.1.resume"])
        for _ in range(3):
            assert len(await two.resume(one)) == 4


async def test_the_guard_is_not_asked_for_a_client_that_has_gone() -> None:
    """A join that waits ends with its client."""
    timing = Timing(read_beside_after=0.05)
    app = WSRoom(limits=Limits(joins=1, rooms_per_socket=1), _timing=timing)
    asked: list[str] = []

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        asked.append(room)

    async with TestClient(app, timeout=5) as client:
        one = await client.connect()
        await one.join("first")
        await one.emit("joinRoom", "second")
        await one.close()
        await client.settle()
    assert asked == ["first"]
