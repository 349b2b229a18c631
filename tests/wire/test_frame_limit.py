"""`Limits.frames`: a client that sends too much waits, and is closed if it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.clock import SECOND, until
from tests.support.peers import Peer, peer
from tests.support.servers import serve
from wsroom import Emitter, Limits, Socket, WSRoom
from wsroom.timing import Timing


@pytest.fixture(params=[True, False], ids=["link", "receive"])
def direct(request: pytest.FixtureRequest) -> bool:
    """Whether frames are read at the transport."""
    return bool(request.param)


class Scene:
    """An app that notes the messages of `count`, and answers `ask`."""

    def __init__(self, **options: Any) -> None:
        self.app = WSRoom(**options)
        self.counted: list[int] = []
        self.codes: list[int] = []
        self.app.on("count")(self._count)
        self.app.on("ask")(self._ask)
        self.app.on_disconnect()(self._note_code)

    async def _count(self, emitter: Emitter, message: int) -> None:
        self.counted.append(message)

    async def _ask(self, emitter: Emitter) -> int:
        return len(self.counted)

    async def _note_code(self, socket: Socket, code: int) -> None:
        self.codes.append(code)


async def flood(client: Peer) -> None:
    """Send until the connection is closed."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            for _ in range(50):
                await client.send("count", 0)
            await asyncio.sleep(0.01)  # the other side of this loop handles them


async def test_frames_over_the_limit_wait(direct: bool) -> None:
    """All of them are handled, in order; the frames of others do not wait."""
    scene = Scene(direct=direct, limits=Limits(frames=50, burst=10))
    async with serve(scene.app) as server, peer(server) as bad, peer(server) as good:
        begin = time.monotonic()
        for number in range(40):
            await bad.send("count", number)
        await until(lambda: len(scene.counted) > 5)
        assert await good.request("ask") < 20
        assert await bad.request("ask") == 40
        assert (
            time.monotonic() - begin > (41 - 10 - 2) / 50
        )  # at most; one over the burst is handled
        assert scene.counted == list(range(40))


async def test_a_client_that_goes_on_is_closed(
    direct: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With 1008, after its frames have waited for the time; the log says so, once."""
    timing = Timing(flood=0.5 * SECOND)
    scene = Scene(direct=direct, limits=Limits(frames=20, burst=1), _timing=timing)
    async with serve(scene.app) as server, peer(server) as bad:
        begin = time.monotonic()
        await asyncio.gather(flood(bad), bad.closed())
        assert time.monotonic() - begin > 0.4 * SECOND
        assert (bad.websocket.close_code, bad.websocket.close_reason) == (1008, "too many frames")
        await until(lambda: scene.codes)
        assert scene.codes == [1008]
        assert len(scene.counted) < 0.5 * SECOND * 20 + 5
    assert caplog.text.count("is closed: too many frames") == 1


async def test_bad_frames_and_unknown_events_count(direct: bool) -> None:
    """What costs the app nothing costs the client the same."""
    scene = Scene(direct=direct, limits=Limits(frames=20, burst=2, frame_size=100))
    large = '{"id": 1, "event": "count", "message": "%s"}' % ("x" * 100)
    async with serve(scene.app) as server, peer(server) as bad:
        begin = time.monotonic()
        for _ in range(5):
            await bad.raw(large)
            await bad.send("nobody knows")
        for code in ("too_large", "unknown_event") * 5:
            await bad.error(code)
        assert time.monotonic() - begin > (10 - 2 - 2) / 20


async def test_the_end_of_a_client_that_waits_is_noticed(direct: bool) -> None:
    """Its frames are not handled one by one first."""
    timing = Timing(grace=0.2 * SECOND)
    scene = Scene(direct=direct, limits=Limits(frames=1, burst=1), _timing=timing)
    async with serve(scene.app) as server:
        async with peer(server) as bad:
            for number in range(50):
                await bad.send("count", number)
            await until(lambda: scene.counted)
        await until(lambda: scene.codes)
        assert scene.codes == [1000]
        assert len(scene.counted) < 10


async def test_a_client_within_the_limit_never_waits(direct: bool) -> None:
    """A page that sends its burst, and then asks again and again."""
    scene = Scene(direct=direct, limits=Limits(frames=1000, burst=50), _timing=Timing(flood=1e-9))
    async with serve(scene.app) as server, peer(server) as good:
        for number in range(45):
            await good.send("count", number)
        assert await good.request("ask") == 45
        for _ in range(20):
            await asyncio.sleep(0.002)
            await good.request("ask")
