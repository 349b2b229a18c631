"""Pings for many connections with one timer, on a loop whose clock the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from wsroom.direct.keepalive import Keepalive

EXACT = 0.25  # seconds: each ping is up to two slots late


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time passes at once when nothing but timers is left."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Peer:
    """Notes when it is pinged; answers after `delay` seconds, or never."""

    def __init__(self, keepalive: Keepalive, delay: float | None = 0.0) -> None:
        self.slot: int | None = None
        self.ping: bytes | None = None
        self.left: int | None = None
        self.pinged: list[float] = []
        self.payloads: list[bytes] = []
        self.timed_out: float | None = None
        self.open = True
        self._keepalive = keepalive
        self._delay = delay

    def send_ping(self, frame: bytes) -> bool:
        if self.open:
            loop = asyncio.get_running_loop()
            self.pinged.append(loop.time())
            self.payloads.append(frame[2:])
            assert frame[:2] == b"\x89\x04" and len(frame) == 6
            if self._delay is not None:
                loop.call_later(self._delay, self._keepalive.answered, self, frame[2:])
        return self.open

    def ping_timeout(self) -> None:
        self.timed_out = asyncio.get_running_loop().time()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(test())


def near(expected: list[float]) -> list[Any]:
    return [pytest.approx(1000 + time, abs=EXACT) for time in expected]


@pytest.mark.parametrize("delay", [0.0, 3.0, 12.0])
def test_pings_come_at_the_interval_whenever_they_are_answered(delay: float) -> None:
    """An answer after the interval is followed by the next ping at once."""

    async def test() -> None:
        keepalive = Keepalive(10, 15)
        peer = Peer(keepalive, delay)
        keepalive.add(peer)
        await asyncio.sleep(41)
        step = max(10, delay)
        assert peer.pinged == near([10 + step * n for n in range(int(31 // step) + 1)])
        assert peer.timed_out is None
        assert len(set(peer.payloads)) == len(peer.payloads)
        keepalive.stop()

    run(test)


def test_a_peer_that_does_not_answer_is_closed_once() -> None:
    """Others are pinged as before."""

    async def test() -> None:
        keepalive = Keepalive(10, 5)
        silent, good = Peer(keepalive, None), Peer(keepalive)
        keepalive.add(silent)
        keepalive.add(good)
        await asyncio.sleep(31)
        assert silent.pinged == near([10]) and silent.timed_out == near([15])[0]
        assert good.pinged == near([10, 20, 30]) and good.timed_out is None
        keepalive.stop()

    run(test)


def test_only_the_payload_of_the_last_ping_is_an_answer() -> None:
    """Pongs that nobody asked for do not count (RFC 6455, section 5.5.3)."""

    async def test() -> None:
        keepalive = Keepalive(10, 5)
        peer = Peer(keepalive, None)
        keepalive.add(peer)
        assert not keepalive.answered(peer, b"")
        await asyncio.sleep(11)
        assert not keepalive.answered(peer, b"none")
        assert keepalive.answered(peer, peer.payloads[0])
        assert not keepalive.answered(peer, peer.payloads[0])
        await asyncio.sleep(10)
        assert peer.pinged == near([10, 20])
        keepalive.stop()

    run(test)


def test_without_a_timeout_pings_go_on_unanswered() -> None:
    """As with uvicorn's `ws_ping_timeout=None`."""

    async def test() -> None:
        keepalive = Keepalive(10, None)
        peer = Peer(keepalive, None)
        keepalive.add(peer)
        await asyncio.sleep(35)
        assert peer.pinged == near([10, 20, 30]) and peer.timed_out is None
        assert keepalive.answered(peer, peer.payloads[-1])
        keepalive.stop()

    run(test)


def test_the_clock_of_an_answer_stands_still_while_it_is_held() -> None:
    """Nothing is read from the peer meanwhile; afterwards the rest of its time is left."""

    async def test() -> None:
        keepalive = Keepalive(10, 5)
        peer = Peer(keepalive, None)
        keepalive.add(peer)
        keepalive.hold(peer)  # does not delay a ping
        keepalive.resume(peer)
        await asyncio.sleep(13)
        for _ in range(3):
            keepalive.hold(peer)
            await asyncio.sleep(100)
            keepalive.resume(peer)
        assert peer.timed_out is None
        await asyncio.sleep(5)
        assert peer.timed_out == near([315])[0]

        other = Peer(keepalive, None)
        keepalive.add(other)
        await asyncio.sleep(12)
        keepalive.hold(other)
        assert keepalive.answered(other, other.payloads[0])
        keepalive.resume(other)
        await asyncio.sleep(20)
        assert len(other.pinged) == 2
        keepalive.stop()

    run(test)


def test_a_connection_that_is_over_costs_nothing() -> None:
    """Whether it was removed or says so itself: no timer is left."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        keepalive = Keepalive(10, 5)
        removed, closed = Peer(keepalive, None), Peer(keepalive, None)
        keepalive.add(removed)
        keepalive.add(closed)
        closed.open = False
        keepalive.remove(removed)
        keepalive.remove(removed)
        await asyncio.sleep(60)
        assert removed.pinged == closed.pinged == []
        assert not [t for t in loop._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
        keepalive.add(removed)
        await asyncio.sleep(11)
        assert len(removed.pinged) == 1
        keepalive.stop()

    run(test)


def test_a_keepalive_goes_on_in_another_loop() -> None:
    """A mounted app is not notified when its loop ends."""
    keepalive = Keepalive(10, 5)

    async def test() -> None:
        peer = Peer(keepalive)
        keepalive.add(peer)
        await asyncio.sleep(21)
        assert len(peer.pinged) == 2

    run(test)
    run(test)
