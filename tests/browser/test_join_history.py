"""wsroom.js joins with the history of a room: a reload shows the conversation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.clock import TICK, until
from tests.support.interrupted import interrupted
from tests.support.site import Site
from tests.support.tabs import SETTLED, Pages, Tab
from wsroom import Emitter, Socket

JOIN = """(history) => {
    socket.joinRoom("chat", history).then((answer) => log.push(["joined", answer]));
}"""


class Gated(Site):
    """Its guard of `gated` waits the first time."""

    def _register(self) -> None:
        super()._register()
        self.asked = 0

        @self.on_join("gated")
        async def gated(socket: Socket, room: str) -> None:
            self.asked += 1
            if self.asked == 1:
                await self.enough.wait()

        @self.on("cut")
        async def cut(emitter: Emitter, code: int) -> None:
            await next(iter(self.sockets.values())).close(code)


@pytest.fixture
def site() -> Gated:
    return Gated()


@contextlib.asynccontextmanager
async def flood(site: Site) -> AsyncIterator[None]:
    """Emit numbers to the room all the time."""

    async def emit() -> None:
        number = 0
        while True:
            await site.to("chat").emit("said", number)
            number += 1
            await asyncio.sleep(TICK)

    reader = asyncio.create_task(emit())
    try:
        yield
    finally:
        reader.cancel()


async def numbers(tab: Tab, count: int) -> tuple[list[int], list[int], dict[str, Any]]:
    """Wait for so many live messages; return the history, the live ones and the answer."""
    heard = "(n) => log.filter(([kind]) => kind === 'said').length >= n"
    await tab.until("() => log.some(([kind]) => kind === 'joined')")
    entries = await tab.run("() => log")
    position = next(index for index, entry in enumerate(entries) if entry[0] == "joined")
    history = [entry[1] for entry in entries[:position] if entry[0] == "said"]
    await tab.until(heard, len(history) + count)
    entries = await tab.log("said", "joined")
    live = [entry[1] for entry in entries if entry[0] == "said"][len(history) :]
    return history, live, next(entry[1] for entry in entries if entry[0] == "joined")


@pytest.mark.parametrize("path", ["/ws", "/ws?room=chat"])
async def test_a_reload_shows_the_conversation(pages: Pages, site: Site, path: str) -> None:
    """Nothing is doubled, nothing missing between the past and what is live."""
    keeper = await pages.open()
    await keeper.run("() => socket.joinRoom('chat')")
    tab = await pages.open(None)
    async with flood(site):
        await keeper.until("() => log.filter(([kind]) => kind === 'said').length > 30")
        for _ in range(5):
            await tab.page.reload()
            await tab.run(SETTLED)
            await tab.connect(path)
            await tab.run(JOIN, {"last": 20})
            history, live, answer = await numbers(tab, 10)
            assert sorted(history + live) == list(range(min(history), max(live) + 1))
            assert len(live) >= 10 and answer["room"] == "chat" and answer["offset"]
            if path == "/ws":
                assert history == sorted(history) and len(history) == answer["replayed"] == 20


async def test_the_answer_is_whole(pages: Pages, site: Site) -> None:
    """`replayed`, and with `since` `recovered`; asked a second time, there is no past."""
    tab, other = await pages.open(), await pages.open()
    first = await tab.run("() => socket.joinRoom('chat')")
    for n in range(3):
        await tab.call(f"socket.request('say', {{room: 'chat', n: {n}}})")
    answer = await other.run("(since) => socket.joinRoom('chat', {since})", first["offset"])
    assert answer == {"room": "chat", "offset": answer["offset"], "replayed": 3, "recovered": True}
    assert [entry[1]["n"] for entry in await other.log("said")] == [0, 1, 2]
    again = await other.run("() => socket.joinRoom('chat', {last: 2})")
    assert again == {"room": "chat", "offset": answer["offset"], "replayed": 0}
    assert await other.call("socket.joinRoom('news', {last: -1})") == [
        "rejected",
        "invalid_message",
    ]
    assert await other.run("() => socket.rooms") == ["chat"]


async def test_a_join_that_was_cut_off_asks_again(pages: Pages, site: Gated) -> None:
    """With the same history; afterwards the room is resumed like others."""
    await site.to("gated").emit("said", "never heard")
    reader, tab = await pages.open(), await pages.open()
    await reader.run("() => socket.joinRoom('other')")
    await tab.opened()
    await tab.run("() => { window.joined = settled(socket.joinRoom('gated', {last: 5})); }")
    await until(lambda: site.asked)
    await tab.run("() => { dispatchEvent(new Event('offline')); }")
    await tab.sees("connected", True, times=2)
    assert (await tab.run("() => joined"))[0] == "resolved"
    join = ("joinRoom", {"room": "gated", "last": 5})
    assert join in tab.frames(0) and join in tab.frames(1)
    await tab.run("() => { dispatchEvent(new Event('offline')); }")
    await tab.sees("connected", True, times=3)
    assert [event for event, _ in tab.frames(2)] == ["resume"]


@pytest.mark.parametrize("live", [False, True])
async def test_a_history_that_breaks_off_is_not_doubled(pages: Pages, live: bool) -> None:
    """It continues after the last message that arrived; in a live room, after the live ones."""
    async with interrupted(live) as server:
        tab = await pages.open(None)
        await tab.connect(server.url, "{retryAfter: 100}")
        await tab.opened()
        await tab.run(JOIN, {"last": 5})
        await tab.sees("connected", True, times=2)
        resume = next(message for event, message in server.asked if event == "resume")
        assert resume["rooms"]["chat"] == ("c:10" if live else "c:8")
        said = [entry[1] for entry in await tab.log("said")]
        assert said == ([8, 11] if live else [8, 9, 10, 11])
