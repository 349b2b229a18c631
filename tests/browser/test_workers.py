"""wsroom.js on pages of an app in several workers, with faults of workers and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.clock import SECOND
from tests.support.paths import ROOT
from tests.support.processes import Owned, eventually, free_port
from tests.support.tabs import SETTLED, Tab

pytestmark = pytest.mark.timeout(120)

WORKERS = 3
PAGES = 4
KILLS, EVERY = 10, 2 * SECOND
"""How many times a worker is killed, and the seconds between."""


class Workers(Owned):
    """uvicorn's parent process and its workers, on one port."""

    def __init__(self, folder: Path, redis: Broker) -> None:
        self.port = free_port()
        command = (sys.executable, "-m", "uvicorn", "--app-dir", ROOT, "--factory")
        options = ("--port", str(self.port), "--workers", str(WORKERS), "--no-access-log")
        env = {"WSROOM_REDIS_URL": redis.url}
        super().__init__(folder / "log", *command, "tests.support.site:create", *options, env=env)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def ready(self) -> bool:
        # The parent listens before any worker serves.
        async with httpx.AsyncClient(timeout=2 * SECOND) as client:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get(self.url + "readyz")).status_code == 200
        return False


class Crowd:
    """Pages of one app in several workers, in one room."""

    def __init__(self, redis: Broker, workers: Workers, tabs: list[Tab]) -> None:
        self.redis = redis
        self.workers = workers
        self.tabs = tabs

    async def say(self, tab: Tab, n: int) -> int:
        """Send a message to the room; return the process that handled it."""
        pid: int = await tab.run("(n) => socket.request('say', {room: 'chat', n})", n)
        return pid

    async def heard(self, n: int) -> None:
        """Wait until every page has received it."""
        for tab in self.tabs:
            await tab.sees("said", {"room": "chat", "n": n})


@pytest_asyncio.fixture(loop_scope="session")
async def crowd(browser: Browser, tmp_path: Path) -> AsyncIterator[Crowd]:
    async with brokers.valkey() as redis:
        workers = Workers(tmp_path, redis)
        try:
            await workers.start()
            tabs = [await Tab.open(browser, workers.url) for _ in range(PAGES)]
            for tab in tabs:
                await tab.run("() => socket.joinRoom('chat')")
            yield Crowd(redis, workers, tabs)
            assert [error for tab in tabs for error in tab.errors] == []
            await workers.stop()
        finally:
            workers.end()


async def test_a_killed_worker(crowd: Crowd) -> None:
    """Its pages reconnect to other workers, and receive what they missed, in order."""
    first = crowd.tabs[0]
    pids = [await crowd.say(tab, n) for n, tab in enumerate(crowd.tabs)]
    await crowd.heard(PAGES - 1)
    os.kill(pids[0], signal.SIGKILL)
    for tab, pid in zip(crowd.tabs, pids, strict=True):
        if pid == pids[0]:
            await tab.sees("connected", True, times=2)
    assert await crowd.say(first, PAGES) != pids[0]
    await crowd.heard(PAGES)
    for tab in crowd.tabs:
        log = await tab.log("said", "resync")
        assert log == [["said", {"room": "chat", "n": n}] for n in range(PAGES + 1)]


async def test_a_restart_of_redis(crowd: Crowd) -> None:
    """The connections stay, the lost history is reported, and messages are delivered again."""
    await crowd.say(crowd.tabs[0], 1)
    await crowd.heard(1)
    await crowd.redis.kill()
    await crowd.redis.start()

    async def said() -> bool:
        answer, _ = await crowd.tabs[1].call("socket.request('say', {room: 'chat', n: 2})")
        return bool(answer == "resolved")

    await eventually(said)
    for tab in crowd.tabs:
        await tab.sees("resync", "chat")
    await crowd.say(crowd.tabs[2], 3)
    await crowd.heard(3)
    assert all([await tab.log("close") == [] for tab in crowd.tabs])

    # A page that reconnects now resumes from the new history.
    for tab in crowd.tabs:
        await tab.run("() => { dispatchEvent(new Event('offline')); }")
    for tab in crowd.tabs:
        await tab.sees("connected", True)
    await crowd.say(crowd.tabs[3], 4)
    await crowd.heard(4)
    assert all([await tab.log("resync") == [] for tab in crowd.tabs])


async def test_reloads_show_the_conversation(crowd: Crowd) -> None:
    """On any worker: nothing doubled, nothing missing, while another page emits all the time."""
    talker, tab = crowd.tabs[:2]
    await talker.run("""() => {
        window.stopped = false;
        // The test gets each frame of each page from the browser, so a page must not emit faster.
        const pause = () => new Promise((go) => setTimeout(go, 10));
        const talk = async () => {
            for (let n = 0; !stopped; n++, await pause()) {
                await socket.request("say", { room: "chat", n });
            }
        };
        window.talked = talk();
    }""")
    await tab.until("() => log.filter(([kind]) => kind === 'said').length > 30")
    pids = set()
    for _ in range(8):
        await tab.page.reload()
        await tab.run(SETTLED)
        await tab.connect()
        answer = await tab.run("() => socket.joinRoom('chat', { last: 20 })")
        assert answer["replayed"] == 20
        await tab.until("() => log.filter(([kind]) => kind === 'said').length > 40")
        heard = [entry[1]["n"] for entry in await tab.log("said")]
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        pids.add(await tab.run("() => socket.request('pid')"))
    await talker.run("() => { stopped = true; return talked; }")
    print(f"{len(pids)} workers")


PUMP = """(by) => {
    window.answered = [];
    window.refused = [];
    window.stopped = false;
    const pause = () => new Promise((go) => setTimeout(go, 200 + 100 * Math.random()));
    const pump = async () => {
        for (let n = 0; !stopped; n++) {
            const key = `${by}:${n}`;
            try {
                await socket.request("say", { room: "chat", key });
                answered.push(key);
            } catch ({ code }) {
                refused.push([key, code]);
            }
            await pause();
        }
    };
    window.pumped = pump();
}"""


async def test_workers_killed_all_the_time(crowd: Crowd) -> None:
    """One every 2 s for 20 s: answered messages reach every page once, in one order."""
    chance = random.Random(KILLS)
    for number, tab in enumerate(crowd.tabs):
        await tab.run(PUMP, number)
    for _ in range(KILLS):
        await asyncio.sleep(EVERY)
        os.kill(await victim(crowd, chance), signal.SIGKILL)
    await asyncio.gather(
        *(tab.run("() => { stopped = true; return pumped; }") for tab in crowd.tabs)
    )
    for tab in crowd.tabs:
        await tab.until("() => socket.state === 'open'", seconds=30 * SECOND)
    await crowd.say(crowd.tabs[0], -1)
    await crowd.heard(-1)

    answered = [key for tab in crowd.tabs for key in await tab.run("() => answered")]
    refused = [each for tab in crowd.tabs for each in await tab.run("() => refused")]
    logs: list[list[Any]] = [await tab.log("said", "resync", "close") for tab in crowd.tabs]
    heard = [[said.get("key") for kind, said in log if kind == "said"] for log in logs]
    lost = Counter(kind for log in logs for kind, _ in log)
    print(f"{len(answered)} answered, {Counter(code for _, code in refused)}, {lost}")
    assert lost["close"] >= KILLS / 2 and not lost["resync"]
    assert len(answered) > 100
    for keys in heard:
        assert not set(answered) - set(keys)
        assert max(Counter(keys).values()) == 1
        assert keys == heard[0]
    assert {code for _, code in refused} <= {"lost", "timeout"}


async def victim(crowd: Crowd, chance: random.Random) -> int:
    """Return the process of a worker that serves a page."""
    tab = chance.choice(crowd.tabs)
    ask = "() => socket.request('pid', null, {timeout: 30000})"
    pid: int = await tab.run(ask, seconds=40 * SECOND)  # its worker may have just been killed
    return pid
