"""`app.drain(seconds)`: closing the sockets of a worker before its server stops."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.brokers import Broker
from tests.support.clock import SECOND, until
from tests.support.peers import peer
from tests.support.servers import get, serve
from wsroom import Emitter, MemoryAdapter, RedisAdapter, Socket, WSRoom
from wsroom.testing import Refused, TestClient
from wsroom.timing import Timing


class Draining:
    """An app whose handlers `work` and `beside` run until `go` is set."""

    def __init__(self, **options: object) -> None:
        self.app = WSRoom(**options)  # type: ignore[arg-type]
        self.go = asyncio.Event()
        self.working = asyncio.Event()
        self.codes: list[int] = []
        self.app.add_handler("work", self._work)
        self.app.add_handler("beside", self._work, concurrent=True)
        self.app.on_disconnect()(self._note)

    async def _work(self, emitter: Emitter) -> str:
        self.working.set()
        await self.go.wait()
        return "done"

    async def _note(self, socket: Socket, code: int) -> None:
        self.codes.append(code)


async def test_all_sockets_are_closed_and_new_ones_refused() -> None:
    """With 1012, so that clients come back; the hooks have run when it returns."""
    draining = Draining()
    async with TestClient(draining.app) as client:
        connections = [await client.connect() for _ in range(5)]
        await draining.app.drain(0)
        assert draining.codes == [1012] * 5
        await client.settle()
        assert {(c.close_code, c.close_reason) for c in connections} == {
            (1012, "the server restarts")
        }
        with pytest.raises(Refused, match="the server restarts") as caught:
            await client.connect()
        assert caught.value.status == 503
        await draining.app.drain(0)


async def test_the_closes_are_spread() -> None:
    """Over the time that is given."""
    draining = Draining()
    async with TestClient(draining.app) as client:
        for _ in range(5):
            await client.connect()
        begin = time.monotonic()
        task = asyncio.create_task(draining.app.drain(0.5))
        await until(lambda: draining.codes)
        assert len(draining.codes) < 4
        await task
        assert len(draining.codes) == 5
        assert time.monotonic() - begin > 0.4 - 0.01


@pytest.mark.parametrize("event", ["work", "beside"])
async def test_a_running_handler_finishes_first(event: str) -> None:
    """Its reply is sent before the close; frames after it are not handled."""
    draining = Draining()
    async with TestClient(draining.app) as client:
        one = await client.connect()
        await one.emit(event, id=1)
        await draining.working.wait()
        task = asyncio.create_task(draining.app.drain(0))
        await until(lambda: draining.app._worker.admission.draining)
        if event == "work":
            await one.emit("work", id=2)
        assert one.close_code is None
        draining.go.set()
        await task
        await client.settle()
        replies = [frame for frame in one.frames if frame["event"] == "reply"]
        assert [(frame["id"], frame["message"]) for frame in replies] == [(1, "done")]
        assert one.close_code == 1012


async def test_a_handler_that_does_not_end_is_not_waited_for() -> None:
    """Not longer than the graces: the socket is closed, then the handler is cancelled."""
    draining = Draining(_timing=Timing(grace=0.2 * SECOND, cancel_again_every=0.1 * SECOND))
    async with TestClient(draining.app, timeout=5 * SECOND) as client:
        one = await client.connect()
        await one.emit("work", id=1)
        await draining.working.wait()
        await draining.app.drain(0)
        await until(lambda: draining.codes)
        assert draining.codes == [1012] and one.close_code == 1012


async def test_a_handshake_that_is_not_done_ends_after_it() -> None:
    """It was accepted before; its client gets `connected`, and 1012."""
    app, go, asked = WSRoom(MemoryAdapter()), asyncio.Event(), asyncio.Event()

    @app.on_connect()
    async def slow(socket: Socket) -> None:
        asked.set()
        await go.wait()

    async with TestClient(app) as client:
        connecting = asyncio.create_task(client.connect())
        await asked.wait()
        drained = asyncio.create_task(app.drain(0))
        await until(lambda: app._worker.admission.draining)
        go.set()
        one = await connecting
        await drained
        await client.settle()
        assert one.close_code == 1012


async def test_a_drained_client_resumes_on_another_worker(valkey: Broker, prefix: str) -> None:
    """It gets what was emitted meanwhile, once and in order."""
    apps = [WSRoom(RedisAdapter(valkey.url, prefix=prefix)) for _ in range(2)]
    for app in apps:
        app.add_handler("say", lambda emitter: None)
    async with TestClient(apps[0], timeout=5) as old, TestClient(apps[1], timeout=5) as new:
        one = await old.connect()
        await one.join("chat")
        draining = asyncio.create_task(apps[0].drain(0.1))
        for number in range(100):
            await apps[1].to("chat").emit("said", number)
        await draining
        two = await new.connect(subprotocols=["wsroom.1.resume"])
        answers = await two.resume(one)
        assert answers["chat"]["recovered"]
        said = [f["message"] for c in (one, two) for f in c.frames if f["event"] == "said"]
        assert said == list(range(100))


async def test_a_draining_worker_is_not_ready() -> None:
    """So a load balancer sends it nothing more; it is alive, and its requests go on."""
    draining = Draining()
    async with serve(draining.app) as server, peer(server) as one:
        assert (await get(server, "/readyz"))[0] == 200
        await draining.app.drain(0)
        assert await one.closed() == 1012
        assert (await get(server, "/readyz"))[0] == 503
        assert (await get(server, "/healthz"))[0] == 200
