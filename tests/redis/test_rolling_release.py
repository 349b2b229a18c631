"""Workers of the last release beside those of this one, on one server, as in a rolling update.

`releases/` has the wheel of that release: what it wrote into Redis, this one must read, and what
this one writes must not disturb it.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.typing import Subprotocol

from tests.support.brokers import Broker
from tests.support.peers import Frame, Peer, peer
from tests.support.servers import Program, program

RELEASES = Path(__file__).parent / "releases"

APP = """
import os
from wsroom import RedisAdapter, WSRoom

app = WSRoom(RedisAdapter(os.environ["WSROOM_REDIS_URL"], prefix=os.environ["PREFIX"]))

@app.on("say")
async def say(emitter, message):
    await emitter.to("chat").emit("said", message)

@app.on("hush")
async def hush(emitter, message):
    await emitter.to("chat", "other").emit_except_sender("said", message)

@app.on("type")
async def type_(emitter, message):
    await emitter.to("chat").emit("typing", message, volatile=True)

@app.on("kick")
async def kick(emitter):
    await emitter.to("chat").leave("chat")
    await emitter.to("chat").recheck()
    await emitter.to("chat").disconnect(4403)
"""


class Worker(NamedTuple):
    """A worker in a process of its own."""

    run: Program
    port: int

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def peer(self, **options: Any) -> contextlib.AbstractAsyncContextManager[Peer]:
        return peer(self, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def worker(folder: Path, **env: str) -> AsyncIterator[Worker]:
    """Serve the app."""
    args = ("-m", "uvicorn", "app:app", "--port", "0")
    async with program(*args, cwd=folder, env={**os.environ, **env}) as run:
        line = await run.line("Uvicorn running on")
        yield Worker(run, int(line.split("127.0.0.1:")[1].split()[0]))


@pytest.fixture
async def workers(valkey: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[list[Worker]]:
    """A worker of the last release, and one of this."""
    (tmp_path / "app.py").write_text(APP)
    [wheel] = RELEASES.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "released")
    env = {"WSROOM_REDIS_URL": valkey.url, "PREFIX": prefix}
    old = worker(tmp_path, PYTHONPATH=str(tmp_path / "released"), **env)
    async with old as released, worker(tmp_path, **env) as new:
        yield [released, new]


async def said_until(client: Peer, last: Any) -> list[Frame]:
    """Return the frames of `said` and `typing`, up to the message `last`."""
    frames: list[Frame] = []
    while not frames or frames[-1]["message"] != last:
        frame = await client.next()
        if frame["event"] in ("said", "typing"):
            frames.append(frame)
    return frames


async def resume(client: Peer, session: str, offset: str) -> list[Frame]:
    """Resume the room `chat`; return the replayed frames."""
    rooms = {"chat": offset}
    await client.send("resume", {"session": session, "rooms": rooms}, id="again")
    frames = []
    while (frame := await client.next()).get("id") != "again":
        frames.append(frame)
    assert frame["message"]["rooms"]["chat"]["recovered"] is True
    return frames


@pytest.mark.parametrize("emitting", [0, 1], ids=["old emits", "new emits"])
async def test_both_releases_share_rooms_and_history(workers: list[Worker], emitting: int) -> None:
    """Live and replayed messages are the same on both; only replays of this release have a time."""
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(each.peer()) for each in workers]
        offsets = []
        for member in members:
            offsets.append((await member.request("joinRoom", "chat"))["offset"])
        assert offsets[0] == offsets[1]
        speaker = await stack.enter_async_context(workers[emitting].peer())
        for number in range(5):
            await speaker.request("say", number)
            await speaker.send("hush", f"hush {number}")
        await speaker.request("say", "end")
        for member in members:
            frames = await said_until(member, "end")
            assert [f["message"] for f in frames if f["room"]] == [*range(5), "end"]
            assert not any("time" in frame for frame in frames)
        for index, each in enumerate(workers):
            protocols = [Subprotocol("wsroom.1.resume")]
            again = await stack.enter_async_context(each.peer(subprotocols=protocols))
            frames = await resume(again, "a session", offsets[0])
            assert [frame["message"] for frame in frames] == [*range(5), "end"]
            known = index == 1 and emitting == 1
            assert all(("time" in frame) is known for frame in frames)


@pytest.mark.parametrize("joining", [False, True], ids=["old stays out", "old joins"])
@pytest.mark.parametrize("emitting", [0, 1], ids=["old emits", "new emits"])
async def test_the_new_release_joins_first(
    workers: list[Worker], emitting: int, joining: bool
) -> None:
    """The last release gives a room another epoch: that is a `resync`, and nothing is lost."""
    old, new = workers
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(new.peer())]
        offset = (await members[0].request("joinRoom", "chat"))["offset"]
        if joining:
            members.append(await stack.enter_async_context(old.peer()))
            await members[1].join("chat")
        speaker = await stack.enter_async_context(workers[emitting].peer())
        for number in range(3):
            await speaker.request("say", number)
        for member in members:
            assert [frame["message"] for frame in await said_until(member, 2)] == [0, 1, 2]
        for each in workers:
            protocols = [Subprotocol("wsroom.1.resume")]
            again = await stack.enter_async_context(each.peer(subprotocols=protocols))
            await again.send("resume", {"session": "a", "rooms": {"chat": offset}}, id="again")
            replayed = []
            while (frame := await again.next()).get("id") != "again":
                replayed.append(frame["message"])
            recovered = frame["message"]["rooms"]["chat"]["recovered"]
            assert replayed == ([0, 1, 2] if recovered else [])
            assert recovered or each is old or joining or emitting == 0


async def test_volatile_messages_reach_this_release_only(workers: list[Worker]) -> None:
    """The last release drops them as foreign; nothing else is lost there."""
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(each.peer()) for each in workers]
        for member in members:
            await member.join("chat")
        speaker = await stack.enter_async_context(workers[1].peer())
        for number in range(3):
            await speaker.request("type", number)
            await speaker.request("say", number)
        old, new = [await said_until(member, 2) for member in members]
        while new[-1]["event"] != "said":
            new += await said_until(members[1], 2)
    assert [(f["event"], f["message"]) for f in old] == [("said", n) for n in range(3)]
    both = [(event, n) for n in range(3) for event in ("typing", "said")]
    assert [(f["event"], f["message"]) for f in new] == both
    assert "Traceback" not in workers[0].run.output


async def test_the_last_release_ignores_moderation(workers: list[Worker]) -> None:
    """Its members stay, and their messages continue; those of this release are out."""
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(each.peer()) for each in workers]
        for member in members:
            await member.join("chat")
        speaker = await stack.enter_async_context(workers[1].peer())
        await speaker.request("kick")
        await speaker.request("say", "end")
        assert [frame["message"] for frame in await said_until(members[0], "end")] == ["end"]
        while (frame := await members[1].next())["event"] != "leftRoom":
            assert frame["event"] != "said"
        await members[1].join("chat")
        await speaker.request("say", "again")
        assert [frame["message"] for frame in await said_until(members[1], "again")] == ["again"]
        assert "Traceback" not in workers[0].run.output
