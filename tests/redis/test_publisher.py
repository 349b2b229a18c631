"""Publisher, AsyncPublisher, and `python -m wsroom emit`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path

import pytest

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.clock import QUICK, SECOND, until
from tests.support.peers import WAIT
from tests.support.proxy import Proxy
from tests.support.servers import program
from wsroom import (
    AdapterError,
    AsyncPublisher,
    Emitter,
    Publisher,
    RedisAdapter,
    SetupError,
    WSRoom,
)
from wsroom.adapters import Room
from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.subscribed import subscribed_rooms
from wsroom.cli.emit import explain
from wsroom.testing import TestClient


def make_app(url: str, prefix: str, history: int = 100) -> WSRoom:
    app = WSRoom(RedisAdapter(url, prefix=prefix, history=history))

    @app.on("say")
    async def say(emitter: Emitter, message: object) -> None:
        await emitter.to("chat").emit("said", message)

    return app


async def test_what_it_emits_is_like_what_workers_emit(valkey: Broker, prefix: str) -> None:
    """One order, one sequence of offsets, no sender."""
    async with (
        TestClient(make_app(valkey.url, prefix)) as client,
        AsyncPublisher(valkey.url, prefix=prefix) as publisher,
    ):
        a = await client.connect("/ws")
        await a.join("chat")
        seqs = []
        for number in range(3):
            await publisher.to("chat").emit("noti", number)
            await a.request("say", number)
        for number in range(3):
            frame = await a.receive()
            while frame["event"] == "reply":
                frame = await a.receive()
            assert (frame["event"], frame["message"], frame["sender"]) == ("noti", number, None)
            seqs.append(frame["offset"])
            assert await a.expect("said") == number
        assert [int(offset.split(":")[1]) for offset in seqs] == [1, 3, 5]
        await publisher.to(a.id).emit("for you")
        await a.expect("for you")
        await publisher.to().emit("all")
        await a.expect("all")


async def test_it_keeps_history_as_the_workers_do(valkey: Broker, prefix: str) -> None:
    """It reads the setting from Redis, so it cannot shorten the history."""
    async with TestClient(make_app(valkey.url, prefix, history=2)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            for number in range(3):
                await publisher.to("chat").emit("noti", number)
        key = f"{prefix}:{{/ws\nchat}}:history"
        assert await valkey.cli("LLEN", key) == 2


async def test_it_emits_volatile_messages(valkey: Broker, prefix: str) -> None:
    """They have no offset; so do those of `Publisher` and of the command."""
    async with TestClient(make_app(valkey.url, prefix)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with AsyncPublisher(valkey.url, prefix=prefix) as publisher:
            await publisher.to("chat").emit("noti", 1, volatile=True)
        with Publisher(valkey.url, prefix=prefix) as blocking:
            target = blocking.to("chat")
            await asyncio.to_thread(partial(target.emit, "noti", 2, volatile=True))
        command = ("-m", "wsroom", "emit", "chat", "noti", "3", "--volatile")
        async with program(*command, "--redis", valkey.url, "--prefix", prefix) as run:
            assert await run.end() == 0, run.output
        for number in (1, 2, 3):
            assert await a.expect("noti") == number
            assert "offset" not in a.frames[-1]


async def test_it_returns_how_many_workers_heard_it(valkey: Broker, prefix: str) -> None:
    """Workers, not sockets: those with a member of the room, or with a socket on the path."""
    async with (
        TestClient(make_app(valkey.url, prefix)) as one,
        TestClient(make_app(valkey.url, prefix)) as two,
        AsyncPublisher(valkey.url, prefix=prefix) as publisher,
    ):
        assert await publisher.to().emit("noti") == 0
        a, b = await one.connect("/ws"), await one.connect("/ws")
        c = await two.connect("/ws")
        await a.join("chat")
        await b.join("chat")
        for volatile in (False, True):
            assert await publisher.to("chat").emit("noti", volatile=volatile) == 1
            assert await publisher.to().emit("noti", volatile=volatile) == 2
            assert await publisher.to("nobody").emit("noti", volatile=volatile) == 0
            assert await publisher.to("chat", "nobody").emit("noti", volatile=volatile) == 2
            assert await publisher.to(c.id).emit("noti", volatile=volatile) == 1
        with Publisher(valkey.url, prefix=prefix) as blocking:
            assert await asyncio.to_thread(blocking.to("chat").emit, "noti") == 1


async def test_it_is_unknown_who_heard_what_was_sent_again(valkey: Broker, prefix: str) -> None:
    """If the answer to an emission is lost, it is sent again, and heard once."""
    proxy = Proxy(int(valkey.url.rsplit(":", 1)[1]))
    async with (
        TestClient(make_app(valkey.url, prefix), timeout=WAIT) as client,
        proxy.listen() as port,
        AsyncPublisher(f"redis://127.0.0.1:{port}", prefix=prefix, _timing=QUICK) as publisher,
    ):
        a = await client.connect("/ws")
        await a.join("chat")
        assert await publisher.to("chat").emit("noti", 1) == 1
        proxy.dropping_answers = True
        emitting = asyncio.ensure_future(publisher.to("chat").emit("noti", 2))
        for number in (1, 2):
            assert await a.expect("noti") == number
        proxy.dropping_answers = False
        proxy.cut()
        assert await emitting is None
        assert await publisher.to("chat").emit("noti", 3) == 1
        assert await a.expect("noti") == 3


@pytest.fixture(params=["redis", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param).url)


async def test_it_takes_every_url(url: str, prefix: str) -> None:
    """The URLs of RedisAdapter."""
    async with (
        TestClient(make_app(url, prefix)) as client,
        AsyncPublisher(url, prefix=prefix) as publisher,
    ):
        a = await client.connect("/ws")
        await a.join("chat")
        assert await publisher.to("chat").emit("noti") == 1
        await a.expect("noti")
        rooms = await subscribed_rooms(url, RedisNames(prefix))
        assert {Room("/ws", ""), Room("/ws", "chat")} < rooms
        assert [room.path for room in rooms - {("/ws", ""), ("/ws", "chat")}] == [""]


async def test_it_blocks_where_there_is_no_event_loop(valkey: Broker, prefix: str) -> None:
    """From threads, many at once, and again after it was closed."""
    async with TestClient(make_app(valkey.url, prefix)) as client:
        a = await client.connect("/ws")
        await a.join("chat", "news")
        publisher = Publisher(valkey.url, prefix=prefix)
        target = publisher.to("chat").to("news")

        def emit(number: int) -> None:
            target.emit("noti", number)

        await asyncio.gather(*(asyncio.to_thread(emit, number) for number in range(10)))
        assert {await a.expect("noti") for _ in range(10)} == set(range(10))
        await asyncio.to_thread(publisher.close)
        with publisher:
            await asyncio.to_thread(emit, 10)
            assert await a.expect("noti") == 10
            await asyncio.to_thread(target.except_("chat").emit, "noti", 11)
            await asyncio.to_thread(emit, 12)
            assert await a.expect("noti") == 12


FORKS = """
import os, sys
from wsroom import Publisher
publisher = Publisher(sys.argv[1], prefix=sys.argv[2])
target = publisher.to("chat")
target.emit("noti", "parent")
child = os.fork()
if not child:
    target.emit("noti", "child")
    publisher.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
target.emit("noti", "parent again")
publisher.close()
"""


async def test_it_survives_a_fork(valkey: Broker, prefix: str) -> None:
    """Celery forks its workers from a process that may have emitted before."""
    async with TestClient(make_app(valkey.url, prefix)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        async with program("-c", FORKS, valkey.url, prefix) as forks:
            assert await forks.end() == 0, forks.output
        heard = [await a.expect("noti") for _ in range(3)]
        assert heard == ["parent", "child", "parent again"]


async def test_wrong_targets_are_told_at_once(valkey: Broker) -> None:
    """Before anything is connected."""
    publisher = AsyncPublisher(valkey.url)
    with pytest.raises(ValueError, match="concrete path"):
        publisher.to("chat", path="/t/{tenant}")
    with pytest.raises(ValueError, match="is empty"):
        publisher.to("")
    with pytest.raises(ValueError, match="part of the protocol"):
        await publisher.to("chat").emit("joinRoom")
    with pytest.raises(SetupError, match="not a URL of Redis"):
        AsyncPublisher("http://localhost")


async def test_without_redis_an_emit_fails_in_time(prefix: str) -> None:
    """It succeeds again as soon as Redis is available."""
    async with brokers.valkey() as broker:
        await broker.kill()
        async with AsyncPublisher(broker.url, prefix=prefix, _timing=QUICK) as publisher:
            async with asyncio.timeout(QUICK.start_timeout + 2 * SECOND):
                with pytest.raises(AdapterError, match="cannot be used"):
                    await publisher.to("chat").emit("noti")
            await broker.start()
            await publisher.to("chat").emit("noti")


async def test_the_command_emits(valkey: Broker, prefix: str, tmp_path: Path) -> None:
    """With the URL as an option or in the environment."""
    async with TestClient(make_app(valkey.url, prefix)) as client:
        a = await client.connect("/ws")
        await a.join("chat")
        command = ("-m", "wsroom", "emit", "chat", "noti")
        options = ("--redis", valkey.url, "--prefix", prefix)
        async with program(*command, '{"n": 1}', *options, cwd=tmp_path) as run:
            assert await run.end() == 0, run.output
        assert run.output == "1 worker heard it"
        assert await a.expect("noti") == {"n": 1}
        env = {**os.environ, "WSROOM_REDIS_URL": valkey.url}
        async with program(*command, "--prefix", prefix, cwd=tmp_path, env=env) as run:
            assert await run.end() == 0, run.output
        assert await a.expect("noti") is None


async def test_it_moderates(valkey: Broker, prefix: str) -> None:
    """As a worker does; `leave` returns how many workers have a socket on the path."""
    async with (
        TestClient(make_app(valkey.url, prefix)) as one,
        TestClient(make_app(valkey.url, prefix)) as two,
        AsyncPublisher(valkey.url, prefix=prefix) as publisher,
    ):
        assert await publisher.to("chat").leave("news") == 0
        a, b = await one.connect("/ws"), await two.connect("/ws")
        await a.join("chat", "news", "sport")
        await b.join("news")
        assert await publisher.to("chat").leave("news") == 2
        assert await a.expect("leftRoom") == {"room": "news"}
        assert await publisher.to("news").disconnect(4403, "closed") == 1
        assert await b.closed() == 4403 and b.close_reason == "closed"
        assert await publisher.to("chat").recheck() == 1
        with Publisher(valkey.url, prefix=prefix) as blocking:
            target = blocking.to("chat")
            assert await asyncio.to_thread(target.leave, "sport", "nowhere") == 1
            assert await a.expect("leftRoom") == {"room": "sport"}
            assert await asyncio.to_thread(target.recheck, "chat") == 1
            assert await asyncio.to_thread(target.disconnect) == 1
        assert await a.closed() == 1000


async def test_the_command_kicks(valkey: Broker, prefix: str) -> None:
    """Out of rooms, or off; it says why no worker heard it."""

    async def kick(*arguments: str, code: int = 0) -> str:
        command = ("kick", *arguments, "--redis", valkey.url, "--prefix", prefix)
        async with program("-m", "wsroom", *command) as run:
            assert await run.end() == code, run.output
        return run.output

    assert "no worker with the prefix" in await kick("chat", code=1)
    assert await kick("chat", "--allow-nobody") == "0 workers heard it"
    async with TestClient(make_app(valkey.url, prefix)) as client:
        a, b = await client.connect("/ws"), await client.connect("/ws")
        await a.join("chat", "news", "sport")
        assert await kick("chat", "news", "sport") == "1 worker heard it"
        assert [await a.expect("leftRoom") for _ in range(2)] == [
            {"room": "news"}, {"room": "sport"},
        ]  # fmt: skip
        assert "there is a room 'chat'" in await kick("chatt", code=1)
        assert "close code 1005 must not be sent" in await kick("chat", "--code", "1005", code=1)
        assert await kick("chat", "--reason", "banned") == "1 worker heard it"
        assert await a.closed() == 4403 and a.close_reason == "banned"
        assert await kick(b.id, "--code", "1008") == "1 worker heard it"
        assert await b.closed() == 1008


async def test_the_command_says_why_nobody_heard_it(valkey: Broker, prefix: str) -> None:
    """Exit code 1 and the likely reason; with --allow-nobody it succeeds."""

    async def emit(*arguments: str, code: int = 1) -> str:
        command = ("emit", *arguments, "--redis", valkey.url, "--prefix", prefix)
        async with program("-m", "wsroom", *command) as run:
            assert await run.end() == code, run.output
        return run.output

    assert "no worker with the prefix" in await emit("chat", "noti")
    assert await emit("chat", "noti", "--allow-nobody", code=0) == "0 workers heard it"
    async with TestClient(make_app(valkey.url, prefix)) as client:
        assert "no socket is connected (--allow-nobody" in await emit("chat", "noti")
        a = await client.connect("/ws")
        await a.join("chat")
        assert "'chatt' on '/ws'; there is a room 'chat' (" in await emit("chatt", "noti")
        assert "'/chat'; there are sockets on '/ws'" in await emit("x", "noti", "--path", "/chat")
        assert "the mount: --path /ws (" in await emit("chat", "noti", "--path", "/rt/ws")
        assert "the worker of socket ws:0" in await emit("ws:0.1", "noti")
        assert await emit("chat", "noti", code=0) == "1 worker heard it"


@pytest.mark.parametrize(
    ("subscribed", "says"),
    [
        ([("/ws", ""), ("/ws", "x")], "no socket is in room 'chat' on '/ws'"),
        ([(f"/{n}", "") for n in range(7)], "on '/0', '/1', '/2', '/3', '/4' and 2 more"),
        ([("/ws/", "chat"), ("", "ws:a")], "no socket is connected"),
    ],
)
def test_the_reason_for_a_silence(subscribed: list[tuple[str, str]], says: str) -> None:
    """It is found among the rooms that workers are subscribed to."""
    rooms = [Room(path, name) for path, name in subscribed]
    assert explain(Room("/ws", "chat"), rooms, "wsroom").endswith(says)


async def test_a_prefix_is_no_pattern(valkey: Broker) -> None:
    """The rooms of a prefix are found, whatever signs it has, and no others."""
    async with TestClient(make_app(valkey.url, "a*[b]?\\")) as client:
        await client.connect("/ws")
        assert Room("/ws", "") in await subscribed_rooms(valkey.url, RedisNames("a*[b]?\\"))
        assert not await subscribed_rooms(valkey.url, RedisNames("a*"))


@pytest.mark.parametrize("prefix", ["wsroom", "a*b", "[a]?", "a\\b"])
def test_the_names_of_channels_can_be_read(prefix: str) -> None:
    """Any prefix finds the rooms of its channels, and no other."""
    names = RedisNames(prefix)
    assert names.room(names.channel(Room("/ws", "chat"))) == Room("/ws", "chat")
    assert names.room(names.channel(Room("", "ws:a"))) == Room("", "ws:a")
    assert names.room(names.settings) is None
    assert names.room(RedisNames("other").channel(Room("/ws", ""))) is None


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("emit", "chat", "noti", "hi", "--redis", "redis://127.0.0.1:1"), 1, "is not JSON"),
        (("emit", "chat", "noti", "--redis", "http://127.0.0.1"), 1, "not a URL of Redis"),
        (("emit", "chat", "noti", "--redis", "redis://127.0.0.1:1"), 1, "cannot be used"),
        (("emit", "chat"), 2, "EVENT"),
        ((), 2, "COMMAND"),
        (("emit", "--help"), 0, "examples:"),
    ],
)
async def test_the_command_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    """One sentence, no traceback, and an exit code."""
    async with program("-m", "wsroom", *arguments, cwd=tmp_path) as run:
        assert await run.end() == code
    assert says in run.output and "Traceback" not in run.output


async def test_first_emits_fail_together(prefix: str) -> None:
    """One connection attempt for all of them, within the time of one."""
    async with AsyncPublisher(
        f"redis://127.0.0.1:{brokers.free_port()}", prefix=prefix, _timing=QUICK
    ) as publisher:
        async with asyncio.timeout(QUICK.start_timeout + 2 * SECOND):
            emits = [publisher.to("chat").emit("noti", number) for number in range(10)]
            ends = await asyncio.gather(*emits, return_exceptions=True)
        assert all(isinstance(end, AdapterError) for end in ends)


async def test_a_publisher_takes_another_event_loop(valkey: Broker, prefix: str) -> None:
    """If the previous loop has ended; two at the same time raise."""
    publisher = AsyncPublisher(valkey.url, prefix=prefix)

    async def emit() -> None:
        await publisher.to("chat").emit("noti")

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, emit())
    await emit()
    with pytest.raises(RuntimeError, match="one event loop"):
        await asyncio.to_thread(asyncio.run, emit())
    await publisher.close()


async def test_closing_a_publisher_during_its_first_emit() -> None:
    """The emit fails; the task that emits is not cancelled."""
    publisher = AsyncPublisher(f"redis://127.0.0.1:{brokers.free_port()}")
    emitting = asyncio.create_task(publisher.to("chat").emit("noti"))
    await until(lambda: publisher._start.loop)
    await publisher.close()
    await asyncio.wait([emitting])
    assert not emitting.cancelled() and isinstance(emitting.exception(), AdapterError)


async def test_an_invalid_path_is_refused() -> None:
    """It is refused before anything is queued."""
    publisher = AsyncPublisher("redis://127.0.0.1")
    with pytest.raises(ValueError, match="surrogates"):
        publisher.to("chat", path="/\udcff")


async def test_closing_a_publisher_ends_waiting_emits() -> None:
    """A thread that emits while Redis is away does not wait for ever."""
    publisher = Publisher(f"redis://127.0.0.1:{brokers.free_port()}")
    emitting = asyncio.create_task(asyncio.to_thread(publisher.to("chat").emit, "noti"))
    await until(lambda: publisher._inner._start.loop)
    await asyncio.to_thread(publisher.close)
    with pytest.raises(AdapterError, match="stopped"):
        await emitting


DIES = """
import asyncio, sys
from wsroom import AdapterError, AsyncPublisher
from wsroom.timing import Timing
async def main():
    timing = Timing(start_timeout=float(sys.argv[2]))
    async with AsyncPublisher(sys.argv[1], _timing=timing) as publisher:
        print("emits", flush=True)
        try:
            await publisher.to("chat").emit("noti")
        except AdapterError as exc:
            print(exc)
asyncio.run(main())
"""


async def test_a_first_emit_has_an_end(tmp_path: Path) -> None:
    """Also if Redis accepts the connection and never answers."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with program("-c", DIES, url, str(QUICK.start_timeout), cwd=tmp_path) as run:
        await run.line("emits")
        assert await run.end(4) == 0
    assert "Redis" in run.output and "Traceback" not in run.output
    server.close()
