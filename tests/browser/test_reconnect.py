"""Reconnecting by wsroom.js: when it tries, when it gives up, and what it does first."""

from __future__ import annotations

import asyncio
import itertools
import socket as sockets
import struct
from typing import Any

import pytest

from tests.support.clock import SECOND, TICK, until
from tests.support.site import Site
from tests.support.tabs import Pages, Tab
from wsroom import AdapterError, MemoryAdapter, Socket
from wsroom.adapters import Emission, Offset
from wsroom.wire.emission import Room

CLIENTS = 200
FLOOR, FIRST = 0.1, 0.5
"""The shortest pause, and the longest first pause, in seconds."""


def only(site: Site) -> Socket:
    """Return the only socket."""
    (socket,) = site.sockets.values()
    return socket


async def back(tab: Tab, site: Site, times: int = 2) -> None:
    """Wait until the page has connected so many times, and its old socket has ended."""
    await tab.sees("connected", True, times=times)
    await until(lambda: len(site.sockets) == 1)


def reset(pages: Pages) -> None:
    """Reset the TCP connections of all WebSockets of the server."""
    for protocol in list(pages.server.server_state.connections):
        transport: Any = protocol.transport
        if hasattr(protocol, "handshake_complete") or hasattr(protocol, "conn"):
            raw = transport.get_extra_info("socket")
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()


async def test_it_comes_back_after_a_tcp_reset(pages: Pages, site: Site) -> None:
    """The client reconnects without a close frame too."""
    tab = await pages.open()
    await tab.opened()
    reset(pages)
    await back(tab, site)
    assert await tab.log("close") == [["close", 1006]]


async def test_rooms_come_first_then_what_waited(pages: Pages, site: Site) -> None:
    """On the wire: `resume` as the first frame, its answer, the queue; then `onConnected`."""
    other, tab = await pages.open(), await pages.open()
    for each in (other, tab):
        for room in ("chat", "news"):
            await each.call(f"socket.joinRoom('{room}')")
    session = next(f["message"]["session"] for _, f in tab.got if f["event"] == "connected")
    await tab.page.context.set_offline(True)
    await tab.sees("state", "waiting")
    await other.call("socket.request('say', {room: 'chat', n: 1})")
    await other.call("socket.request('say', {room: '', n: 2})")
    await tab.run("""() => {
        socket.emit("say", { room: "chat", n: 3 });
        window.asked = settled(socket.request("echo", "asked"));
        socket.onConnected(() => socket.emit("echo", "last"));
    }""")
    await tab.log()
    await tab.page.context.set_offline(False)
    await tab.sees("said", {"room": "chat", "n": 3})
    assert await tab.run("() => asked") == ["resolved", "asked"]

    first, *rest = tab.frames(len(tab.urls) - 1)
    assert first[0] == "resume" and first[1]["session"] == session
    assert set(first[1]["rooms"]) == {"", "chat", "news"}
    say = ("say", {"room": "chat", "n": 3})
    assert rest == [say, ("echo", "asked"), ("echo", "last")]
    log = await tab.log("said", "connected", "state", "resync")
    assert log[-2:] == [["connected", True], ["said", {"room": "chat", "n": 3}]]
    missed = [["said", {"room": "chat", "n": 1}], ["said", {"room": "", "n": 2}]]
    assert sorted(log[-5:-3], key=str) == sorted(missed, key=str)
    assert log[-3] == ["state", "open"]

    # It keeps its first session, so the server still recognises its own messages.
    await tab.call("socket.request('hush', {room: 'chat', n: 4})")
    await tab.run(
        "() => { dispatchEvent(new Event('offline')); dispatchEvent(new Event('online')); }"
    )
    await tab.sees("connected", True)
    assert tab.frames(len(tab.urls) - 1)[0][1]["session"] == session
    assert await tab.log("said", "resync") == []


async def test_only_missed_messages_have_a_time(pages: Pages, site: Site) -> None:
    """It is the fourth argument of a listener: when the message was emitted."""
    tab, other = await pages.open(), await pages.open()
    await tab.run("""() => {
        window.times = [];
        socket.on("said", ({ n }, sender, room, time) => times.push([n, time ?? null]));
    }""")
    await tab.call("socket.joinRoom('chat')")
    await other.call("socket.request('say', {room: 'chat', n: 1})")
    await tab.until("() => times.length === 1")
    await tab.page.context.set_offline(True)
    await tab.sees("state", "waiting")
    await other.call("socket.request('say', {room: 'chat', n: 2})")
    await tab.page.context.set_offline(False)
    await tab.until("() => times.length === 2")
    live, missed = await tab.run("() => times")
    assert live == [1, None]
    assert missed[0] == 2 and abs(missed[1] - await tab.run("() => Date.now()")) < 60_000


async def test_rooms_of_the_app_are_kept_and_left_like_others(pages: Pages, site: Site) -> None:
    """One that the app joined is resumed from its offset; one that it left is forgotten."""
    tab = await pages.open()
    await tab.call("socket.joinRoom('left')")
    socket = only(site)
    await socket.join("quiet")
    await socket.leave("left")
    await tab.call("socket.request('echo')")
    await site.to("quiet").emit("said", "live")
    await tab.sees("said", "live")
    reset(pages)
    await until(lambda: not site.sockets)
    for room in ("quiet", "left"):
        await site.to(room).emit("said", f"missed in {room}")
    await back(tab, site)
    await tab.sees("said", "missed in quiet")
    (_, resume), *_ = tab.frames(1)
    assert set(resume["rooms"]) == {"", "quiet"}
    await tab.call("socket.request('echo')")
    assert await tab.log("said", "resync") == [
        ["said", "live"],
        ["said", "missed in quiet"],
    ]
    assert await tab.run("() => socket.rooms") == ["quiet"]


async def test_a_room_that_was_left_stays_left(pages: Pages, site: Site) -> None:
    """The client rejoins its rooms: those that it joined, and those that the app joined."""
    tab = await pages.open("/ws?room=hall")
    for room in ("chat", "news"):
        await tab.call(f"socket.joinRoom('{room}')")
    await tab.call("socket.request('enter', 'vault')")
    await tab.call("socket.request('say', {room: 'vault'})")
    await tab.sees("said", {"room": "vault"})
    await tab.call("socket.leaveRoom('news')")
    await only(site).close(4000)
    await back(tab, site)
    assert only(site).rooms == {"hall", "chat", "vault"}


async def test_a_room_can_be_left_while_the_connection_is_lost(pages: Pages, site: Site) -> None:
    """It is not rejoined, also if the app joins it again."""
    tab = await pages.open("/ws?room=hall")
    await tab.call("socket.joinRoom('chat')")
    await tab.page.context.set_offline(True)
    await tab.sees("state", "waiting")
    leaves = "Promise.all([socket.leaveRoom('hall'), socket.leaveRoom('chat')].map(settled))"
    await tab.run(f"() => {{ window.left = {leaves}; }}")
    await tab.page.context.set_offline(False)
    assert await tab.run("() => left") == [["resolved", None]] * 2
    await until(lambda: len(site.sockets) == 1)
    assert only(site).rooms == set()
    await only(site).close(1012)
    await tab.sees("connected", True, times=3)
    assert set(tab.frames(len(tab.urls) - 1)[0][1]["rooms"]) == {""}


async def test_what_was_lost_is_told(pages: Pages, site: Site) -> None:
    """If the history is too short, `onResync` reports the rooms before any message."""
    tab = await pages.open()
    await tab.call("socket.joinRoom('chat')")
    await tab.call("socket.joinRoom('quiet')")
    await tab.page.context.set_offline(True)
    await tab.sees("state", "waiting")
    for n in range(301):  # more than the history keeps
        await site.to("chat").emit("said", {"n": n})
    await tab.log()
    await tab.page.context.set_offline(False)
    await tab.sees("connected", True)
    log = await tab.log("said", "resync", "connected")
    assert log == [["resync", "chat"], ["connected", True]]


async def test_a_room_that_is_closed_meanwhile_is_told(pages: Pages, site: Site) -> None:
    """The guard decides again; a refused room is an error, and is forgotten."""
    tab = await pages.open()
    for room in ("chat", "vip"):
        await tab.call(f"socket.joinRoom('{room}')")
    site.closed_rooms.add("vip")
    await only(site).close(4000)
    await back(tab, site)
    assert await tab.log("error") == [["error", "forbidden"]]
    await only(site).close(4000)
    await back(tab, site, 1)
    assert set(tab.frames(2)[0][1]["rooms"]) == {"", "chat"}
    assert await tab.log("error") == []


class Forgetful(MemoryAdapter):
    """An adapter without a history."""

    async def publish(self, emission: Emission) -> None:
        for deliver in self._delivers:
            deliver(emission, None)

    async def subscribe(self, room: Room) -> None:
        await super().subscribe(room)


@pytest.mark.parametrize("site", [Site(Forgetful())])
async def test_without_a_history_all_rooms_are_joined_and_told(pages: Pages, site: Site) -> None:
    """Without a history, each room and the path may have missed messages."""
    tab = await pages.open()
    for room in ("chat", "news"):
        await tab.call(f"socket.joinRoom('{room}')")
    assert await tab.log("resync") == []
    await only(site).close(1012)
    await tab.sees("connected", True)
    resyncs = [["resync", room] for room in (None, "chat", "news")]
    assert await tab.log("resync", "connected") == [*resyncs, ["connected", True]]
    assert tab.frames(1) == [("joinRoom", "chat"), ("joinRoom", "news")]
    await until(lambda: len(site.sockets) == 1)
    assert only(site).rooms == {"chat", "news"}


class Halting(MemoryAdapter):
    """An adapter that cannot reach its broker for some rooms."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name in self.away:
            raise AdapterError("the broker does not answer")
        return await super().subscribe(room)


HALTING = Halting()


@pytest.mark.parametrize("site", [Site(HALTING)])
async def test_it_is_not_open_without_its_rooms(pages: Pages, site: Site) -> None:
    """A room that is unavailable is not given up: the next attempt may join it."""
    tab = await pages.open("/ws", "{retryAfter: 1}")
    for room in ("chat", "news"):
        await tab.call(f"socket.joinRoom('{room}')")
    await tab.log()
    HALTING.away = {"chat"}
    await only(site).close(1012)
    await tab.sees("state", "waiting")
    await tab.run("() => socket.emit('say', {room: 'chat'})")
    await tab.sees("state", "waiting", times=3)
    assert "open" not in [state for _, state in await tab.log("state")]
    assert site.handled.count(("say", {"room": "chat"})) == 0
    HALTING.away = set()
    await tab.sees("said", {"room": "chat"})
    await until(lambda: len(site.sockets) == 1)
    assert only(site).rooms == {"chat", "news"}


async def test_an_expired_token_is_asked_anew(pages: Pages, site: Site) -> None:
    """`params` is called before each attempt; if it fails, the attempt fails."""
    site.tokens.add("t1")
    tab = await pages.open(None)
    await tab.run("() => { window.asked = 0; }")
    token = """async () => {
        asked += 1;
        if (asked === 3) throw new Error("no token today");
        return { token: "t" + asked };
    }"""
    await tab.connect("/ws?more=é", f"{{ retryAfter: 1, params: {token} }}")
    await tab.opened()
    site.tokens = {"t2"}
    await only(site).close(1012)
    await back(tab, site)
    site.tokens = {"t4"}
    await only(site).close(1012)
    await back(tab, site, 3)
    assert only(site).query == {"more": "é", "token": "t4"}
    assert await tab.log("error") == [["error", "no token today"]]


@pytest.mark.parametrize("code", [1008, 4400, 4401, 4499])
async def test_some_codes_are_the_end(pages: Pages, code: int) -> None:
    """1008 and 4400 to 4499 are refusals: the client does not try again."""
    tab = await pages.open()
    await tab.opened()
    await tab.run("(code) => { window.waiting = settled(socket.request('quit', code)); }", code)
    assert await tab.run("() => waiting") == ["rejected", "lost"]
    await tab.run("() => dispatchEvent(new Event('online'))")
    assert await tab.log("state", "close") == [
        ["state", "open"],
        ["state", "closed"],
        ["close", code],
    ]


@pytest.mark.parametrize("code", [1000, 1011, 1013, 4399, 4500])
async def test_other_codes_are_not(pages: Pages, code: int) -> None:
    """The client reconnects after every other close code."""
    tab = await pages.open()
    await tab.opened()
    await tab.run("(code) => socket.emit('quit', code)", code)
    await tab.sees("connected", True, times=2)
    assert await tab.log("close") == [["close", code]]


async def test_a_refusal_is_the_end(pages: Pages, site: Site) -> None:
    """A `Reject` in `on_connect` is a close code; waiting requests reject."""
    site.tokens.add("good")
    tab = await pages.open()
    waiting = "[socket.request('echo'), socket.joinRoom('chat')].map(settled)"
    await tab.run(f"() => {{ window.waiting = Promise.all({waiting}); }}")
    assert await tab.run("() => waiting") == [["rejected", "closed"]] * 2
    assert await tab.log("state", "close") == [["state", "closed"], ["close", 4401]]


async def test_it_gives_up_where_it_is_told_to(pages: Pages) -> None:
    """`maxRetries` counts attempts after the first, also if the server is unreachable."""
    with sockets.create_server(("127.0.0.1", 0)) as unused:
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/ws"
    tab = await pages.open(url, "{maxRetries: 2, retryAfter: 1}")
    await tab.sees("state", "closed")
    assert await tab.log("close") == [["close", 1006]] * 3


async def test_an_attempt_has_a_time(pages: Pages) -> None:
    """An attempt ends if `params` never returns, or the server never answers."""
    with sockets.create_server(("127.0.0.1", 0)) as silent:  # never accepts
        port = silent.getsockname()[1]
        options = "{connectTimeout: 200, retryAfter: 1, maxRetries: 1}"
        tab = await pages.open(f"ws://127.0.0.1:{port}/ws", options)
        await tab.sees("state", "closed")
        assert await tab.log("close") == [["close", 1006]] * 2
    never = "{connectTimeout: 200, maxRetries: 0, params: () => new Promise(() => {})}"
    tab = await pages.open("/ws", never)
    await tab.sees("close", 1006)


async def test_offline_and_back(pages: Pages, site: Site) -> None:
    """It disconnects at once when offline, and reconnects at once when online."""
    tab = await pages.open("/ws", "{retryAfter: 3600000}")
    await tab.call("socket.joinRoom('chat')")
    for round in range(3):
        await tab.page.context.set_offline(True)
        await tab.sees("state", "waiting", times=round + 1)
        await tab.page.context.set_offline(False)
        await back(tab, site, round + 2)
    await tab.call("socket.request('say', {room: 'chat', n: 1})")
    await tab.sees("said", {"room": "chat", "n": 1})


@pytest.mark.parametrize("event", ["online", "pageshow", "visibilitychange"])
async def test_it_tries_at_once_when_the_page_wakes(pages: Pages, event: str) -> None:
    """The event ends even a pause of an hour, and does not affect clients that do not wait."""
    tab = await pages.open("/ws", "{retryAfter: 3600000}")
    await tab.opened()
    await tab.run("() => socket.emit('quit', 1012)")
    await tab.sees("state", "waiting")
    await tab.run("(type) => dispatchEvent(new Event(type))", event)
    await tab.sees("connected", True, times=2)
    await tab.run("(type) => dispatchEvent(new Event(type))", event)
    assert await tab.call("socket.request('echo', 1)") == ["resolved", 1]
    assert len(tab.urls) == 2


MANY = """async (count) => {
    window.tries = [];
    window.sockets = Array.from({ length: count }, () => wsroom.connect("/ws"));
    await Promise.all(sockets.map((socket) => new Promise((go) => socket.onConnected(go))));
    for (const socket of sockets) {
        let lost;
        socket.onState((state) => {
            if (state === "waiting") lost = performance.now();
            if (state === "connecting") tries.push((performance.now() - lost) / 1000);
        });
    }
}"""


async def test_many_clients_do_not_come_back_in_one_burst(pages: Pages, site: Site) -> None:
    """200 clients that disconnect at one moment reconnect evenly spread over the first pause."""
    tab = await pages.open(None)
    await tab.run(MANY, CLIENTS)
    await until(lambda: len(site.sockets) == CLIENTS)
    site.times.clear()
    await asyncio.gather(*(each.close(1012) for each in list(site.sockets.values())))
    # Chromium opens one WebSocket after the other, so the server sees them later.
    await until(lambda: len(site.times) >= CLIENTS)
    times = sorted((await tab.run("() => tries"))[:CLIENTS])
    pause = FIRST - FLOOR
    parts = [sum(part == int((time - FLOOR) / pause * 8) for time in times) for part in range(9)]
    print(f"{CLIENTS} clients after {times[0]:.2f} to {times[-1]:.2f} s; by eighths: {parts}")
    assert times[0] >= FLOOR - TICK
    assert max(parts) < CLIENTS / 4, times
    assert times[CLIENTS * 9 // 10] - times[CLIENTS // 10] > pause / 2, times


async def test_pauses_grow_and_begin_anew_only_after_good_connections(
    pages: Pages, site: Site
) -> None:
    """The pauses grow while the server closes each connection at once."""
    tab = await pages.open("/ws", "{retryAfter: 2}")
    thrown_out = """() => new Promise((done) => {
        const times = [];
        const stop = socket.onConnected(() => {
            times.push(performance.now());
            if (times.length === 11) stop(), done(times);
            socket.emit("quit", 1012);
        });
        socket.emit("quit", 1012);
    })"""
    await tab.sees("connected", True)
    times = await tab.run(thrown_out)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert min(pauses) >= FLOOR * 900 and max(pauses[:4]) < 1000 * SECOND
    assert sum(pauses[-3:]) > 400, pauses  # of up to 512, 1024 and 2048

    await tab.sees("connected", True, times=13)  # with the first one and the last
    await tab.run("() => { window.since = performance.now(); }")
    await tab.until("() => performance.now() - since > 5000")
    pause = """() => new Promise((done) => {
        let lost;
        socket.onState((state) => {
            if (state === "waiting") lost = performance.now();
            else if (state === "connecting") done(performance.now() - lost);
        });
        socket.emit("quit", 1012);
    })"""
    assert await tab.run(pause) < 500 * SECOND  # it would be one of up to 8 s
