"""wsroom.js on a page, with one server: each of its methods."""

from __future__ import annotations

import pytest

from tests.support.clock import until
from tests.support.site import Site
from tests.support.tabs import Pages

# -- the Dox client's known faults: each is a test that wsroom.js passes ------------------------


async def test_it_comes_back_after_a_clean_close(pages: Pages, site: Site) -> None:
    """The Dox client reconnects only after an error, not after a clean close."""
    tab = await pages.open()
    await tab.opened()
    await next(iter(site.sockets.values())).close(1000)
    await tab.sees("connected", True, times=2)
    assert await tab.log("state", "close") == [
        ["state", "open"],
        ["state", "waiting"],
        ["close", 1000],
        ["state", "connecting"],
        ["state", "open"],
    ]


async def test_an_event_has_several_listeners(pages: Pages) -> None:
    """The Dox client calls only the first listener of an event, and of "*"."""
    tab = await pages.open()
    await tab.run("""() => {
        window.heard = [];
        for (const name of ["first", "second"])
            socket.on("said", (...values) => heard.push([name, ...values.slice(0, 3)]));
        for (const name of ["third", "fourth"])
            socket.on("*", (frame) => frame.event === "said" && heard.push([name, frame]));
    }""")
    await tab.call("socket.joinRoom('chat')")
    await tab.call("socket.request('say', {room: 'chat'})")
    await tab.until("() => heard.length === 4")
    first, second, third, fourth = await tab.run("() => heard")
    id = await tab.run("() => socket.id")
    assert first == ["first", {"room": "chat"}, id, "chat"]
    assert second == ["second", {"room": "chat"}, id, "chat"]
    assert third[1] == fourth[1]
    assert third[1].pop("offset")
    assert third[1] == {"event": "said", "message": first[1], "sender": id, "room": "chat"}


async def test_an_emit_before_it_is_open_is_sent(pages: Pages, site: Site) -> None:
    """The Dox client throws: "Still in CONNECTING state"."""
    tab = await pages.open(None)
    await tab.run("""() => {
        window.dox = DoxWebSocket("/ws", { maxRetries: 18, retryAfter: 2000 });
        dox.emit("echo", "early");
    }""")
    await until(lambda: site.handled)
    assert site.handled == [("echo", "early")]


async def test_what_was_registered_once_stays(pages: Pages, site: Site) -> None:
    """The Dox client forgets `onOpen` and its room when it connects again."""
    tab = await pages.open(None)
    await tab.run("""() => {
        window.calls = [];
        window.socket = DoxWebSocket("/ws", { retryAfter: 100 });
        socket.onOpen(() => calls.push("open"));
        socket.onClose(() => calls.push("close"));
        socket.onConnected((message) => calls.push(message.id === socket.id));
        socket.on("said", (message) => calls.push(message.n));
        socket.joinRoom("chat");
    }""")
    await tab.opened()
    await tab.call("socket.request('quit', 4000)")
    await tab.until("() => calls.filter((each) => each === true).length === 2")
    await tab.run("() => socket.emit('say', {room: 'chat', n: 1})")
    await tab.until("() => calls.includes(1)")
    assert await tab.run("() => calls") == ["open", True, "close", "open", True, 1]


async def test_a_listener_that_fails_is_not_the_others_matter(pages: Pages) -> None:
    """The others are called, the connection stays, and the page reports the error."""
    tab = await pages.open()
    await tab.run("() => { socket.on('said', () => { throw new Error('mine'); }); }")
    await tab.run("() => { socket.on('said', () => { window.also = true; }); }")
    await tab.call("socket.request('say', {room: ''})")
    await tab.until("() => window.also")
    assert (await tab.call("socket.request('echo', 1)")) == ["resolved", 1]
    assert tab.errors.pop() == "mine"


# -- listening ----------------------------------------------------------------------------------


async def test_listeners_can_be_taken_back(pages: Pages) -> None:
    """By the function that `on` returned, or all listeners of an event."""
    tab = await pages.open()
    await tab.run("""() => {
        window.calls = "";
        const [a, b, c, d] = [..."abcd"].map((name) => () => { calls += name; });
        const stop = socket.on("echoed", a);
        for (const each of [b, c]) socket.on("said", each);
        stop(), stop();
        window.b = b;
        socket.on("said", d);
    }""")
    tell = "socket.request('say', {room: ''})"
    await tab.call(tell)
    await tab.run("() => socket.off('said', b)")
    await tab.call(tell)
    await tab.run("() => socket.off('said')")
    await tab.call(tell)
    await tab.call("socket.request('echo')")
    assert await tab.run("() => calls") == "bcdcd"


# -- sending ------------------------------------------------------------------------------------


async def test_a_request_is_answered(pages: Pages) -> None:
    """With the handler's return value, or with the server's error code."""
    tab = await pages.open()
    assert await tab.call("socket.request('echo', {é: [1, null]})") == [
        "resolved",
        {"é": [1, None]},
    ]
    assert await tab.call("socket.request('nothing')") == ["rejected", "unknown_event"]
    error = await tab.run("() => socket.request('nothing').catch((e) => [e.name, e.event])")
    assert error == ["WSRoomError", "nothing"]
    circle = "(() => { const a = {}; a.a = a; return socket.request('echo', a); })()"
    assert "circular" in (await tab.call(circle))[1]
    assert await tab.log("error") == []


async def test_a_request_has_a_time(pages: Pages, site: Site) -> None:
    """It rejects after the timeout; a request that still waits then is never sent."""
    tab = await pages.open()
    assert await tab.call("socket.request('wait', 0, {timeout: 50})") == ["rejected", "timeout"]
    assert site.handled == [("wait", None)]
    site.enough.set()

    other = await pages.open("/ws", "{params: () => new Promise(() => {})}")
    assert await other.call("socket.request('echo', 1, {timeout: 50})") == ["rejected", "timeout"]
    assert await other.run("() => socket.dropped") == 0


async def test_a_request_can_be_aborted(pages: Pages, site: Site) -> None:
    """It rejects with the signal's reason at once; a frame that waits is never sent."""
    tab = await pages.open()
    await tab.opened()
    reasons = await tab.run("""async () => {
        const answer = (promise) => promise.catch((reason) => reason.name ?? reason);
        const sent = new AbortController();
        const waiting = answer(socket.request("wait", 0, { signal: sent.signal }));
        await socket.request("echo", 0, { signal: sent.signal, timeout: 50 }).catch(() => {});
        sent.abort();
        return [
            await waiting,
            await answer(socket.request("echo", 1, { signal: sent.signal })),
            await answer(socket.request("echo", 2, { signal: AbortSignal.abort("mine") })),
        ];
    }""")
    assert reasons == ["AbortError", "AbortError", "mine"]
    site.enough.set()
    other = await pages.open("/ws", "{params: () => new Promise((go) => { window.go = go; })}")
    answers = await other.run("""async () => {
        const late = new AbortController();
        const waiting = settled(socket.request("echo", 3, { signal: late.signal }));
        const kept = socket.request("echo", 4);
        late.abort("late");
        go({});
        return [(await waiting)[0], await kept];
    }""")
    assert answers == ["rejected", 4]
    assert [message for event, message in site.handled if event == "echo"] in ([0, 4], [4])


async def test_once_is_called_once(pages: Pages) -> None:
    """Also if it emits the event again; it can be removed before."""
    tab = await pages.open()
    calls = await tab.run("""async () => {
        const calls = [];
        await socket.joinRoom("chat");
        socket.once("said", (message, sender) => calls.push([message.n, sender === socket.id]));
        const stop = socket.once("said", () => calls.push("removed"));
        stop();
        for (const n of [1, 2]) await socket.request("say", { room: "chat", n });
        return calls;
    }""")
    assert calls == [[1, True]]


@pytest.mark.parametrize("value", ["new Uint8Array(3)", "{a: [new ArrayBuffer(3)]}"])
async def test_binary_data_is_an_error(pages: Pages, site: Site, value: str) -> None:
    """JSON would make an object with a key for each byte, or an empty one."""
    tab = await pages.open()
    error = "(e) => [e.name, e.message.includes('binary data')]"
    emitted = (
        f"() => {{ try {{ socket.emit('echo', {value}); }} catch (e) {{ return ({error})(e); }} }}"
    )
    assert await tab.run(emitted) == ["TypeError", True]
    requested = f"() => socket.request('echo', {value}).catch({error})"
    assert await tab.run(requested) == ["TypeError", True]
    assert await tab.call("socket.request('echo', {a: [1]})") == ["resolved", {"a": [1]}]
    assert site.handled == [("echo", {"a": [1]})]


async def test_a_request_ends_with_its_connection(pages: Pages, site: Site) -> None:
    """It rejects, and is not repeated on the next connection."""
    tab = await pages.open()
    await tab.opened()
    await tab.run("() => { window.waiting = settled(socket.request('wait')); }")
    await until(lambda: site.handled)
    await next(iter(site.sockets.values())).close(1012)
    assert await tab.run("() => waiting") == ["rejected", "lost"]
    await tab.sees("connected", True, times=2)
    await tab.call("socket.request('echo', 'marker')")
    site.enough.set()
    assert site.handled == [("wait", None), ("echo", "marker")]


async def test_an_error_without_a_request_is_told(pages: Pages) -> None:
    """The error of an `emit` reaches `onError`, or the console if there is no listener."""
    tab = await pages.open()
    await tab.run("() => socket.emit('nothing')")
    await tab.sees("error", "unknown_event")
    plain = await pages.open(None)
    lines: list[str] = []
    plain.page.on("console", lambda message: lines.append(message.text))
    await plain.run("() => { wsroom.connect('/ws').emit('nothing'); }")
    await until(lambda: any("unknown_event" in line for line in lines))


async def test_what_waits_is_bounded(pages: Pages, site: Site) -> None:
    """The oldest frames are dropped and counted; a request that is dropped rejects."""
    site.tokens.add("later")
    tab = await pages.open(
        "/ws", "{buffer: 3, params: () => new Promise((go) => { window.go = go; })}"
    )
    first = "window.first = settled(socket.request('echo', 'first'))"
    await tab.run(f"() => {{ {first}; for (const n of [1, 2, 3, 4]) socket.emit('echo', n); }}")
    await tab.run("() => socket.emit('echo', 'volatile', {volatile: true})")
    assert await tab.run("() => first") == ["rejected", "dropped"]
    assert await tab.run("() => socket.dropped") == 2
    await tab.run("() => go({token: 'later'})")
    await tab.opened()
    await tab.run("() => socket.emit('echo', 5, {volatile: true})")
    await until(lambda: len(site.handled) == 4)
    assert site.handled == [("echo", n) for n in (2, 3, 4, 5)]


# -- rooms --------------------------------------------------------------------------------------


async def test_rooms_are_joined_and_left(pages: Pages, site: Site) -> None:
    """The promise resolves or rejects; messages of a room that was left do not arrive."""
    site.closed_rooms.add("vip")
    a, b = await pages.open_in("chat")
    assert await a.call("socket.joinRoom('vip')") == ["rejected", "forbidden"]
    assert await a.call("socket.joinRoom(5)") == ["rejected", "bad_room"]
    assert (await a.run("() => socket.joinRoom('chat')"))["room"] == "chat"
    await b.call("socket.request('say', {room: 'chat', n: 1})")
    await a.sees("said", {"room": "chat", "n": 1})
    assert await a.call("socket.leaveRoom('chat')") == ["resolved", None]
    await b.call("socket.request('say', {room: 'chat', n: 2})")
    await b.call("socket.request('say', {room: '', n: 3})")
    await a.sees("said", {"room": "", "n": 3})
    assert [entry[1]["n"] for entry in await a.log("said")] == [1, 3]


async def test_a_join_waits_for_a_connection(pages: Pages, site: Site) -> None:
    """It survives failed attempts, and is effective before queued frames are sent.

    The join of a room that the page has left stays pending, without an unhandled rejection.
    """
    site.tokens.add("t")
    tab = await pages.open("/ws", "{params: () => new Promise((go) => { window.go = go; })}")
    await tab.run("""() => {
        socket.emit("say", { room: "chat", n: 1 });
        window.joined = settled(socket.joinRoom("chat"));
        window.again = settled(socket.joinRoom("chat"));
        window.left = "pending";
        socket.joinRoom("other").then(() => { window.left = "joined"; });
        socket.leaveRoom("other");
    }""")
    await tab.run("() => go({token: 't'})")
    await tab.sees("said", {"room": "chat", "n": 1})
    joined = await tab.run("() => joined")
    assert joined[0] == "resolved" and joined == await tab.run("() => again")
    assert await tab.run("() => left") == "pending"
    sent = [("joinRoom", "chat"), ("say", {"room": "chat", "n": 1}), ("leaveRoom", "other")]
    assert tab.frames(0) == sent


async def test_the_page_knows_its_rooms(pages: Pages, site: Site) -> None:
    """`rooms` is true, whoever joined or left: the page, the app, or `on_connect`."""
    tab = await pages.open("/ws?room=lobby")
    await tab.opened()
    (socket,) = site.sockets.values()
    assert await tab.run("() => socket.rooms") == ["lobby"]
    await tab.call("socket.joinRoom('mine')")
    await socket.join("theirs", "brief")
    await socket.leave("brief", "lobby")
    await tab.call("socket.request('echo')")
    assert await tab.run("() => socket.rooms") == ["mine", "theirs"]
    await tab.call("socket.leaveRoom('mine')")
    assert await tab.run("() => socket.rooms") == ["theirs"]
    await tab.run("() => socket.rooms.push('not a room')")
    assert await tab.run("() => socket.rooms") == ["theirs"] == sorted(socket.rooms)


async def test_the_page_hears_when_the_app_moves_it(pages: Pages, site: Site) -> None:
    """The listeners of `joinedRoom` and `leftRoom` are called like others."""
    tab = await pages.open()
    await tab.opened()
    await tab.run("""() => {
        for (const event of ["joinedRoom", "leftRoom"])
            socket.on(event, ({ room }) => log.push([event, room, socket.rooms]));
    }""")
    (socket,) = site.sockets.values()
    await socket.join("chat")
    await tab.sees("joinedRoom", "chat", ["chat"])
    await socket.leave("chat")
    await tab.sees("leftRoom", "chat", [])


async def test_a_leave_that_waits_is_the_last_word(pages: Pages, site: Site) -> None:
    """Though the app joins the room for the socket before it handles `leaveRoom`."""
    tab = await pages.open()
    await tab.run("""async () => {
        await socket.joinRoom("chat");
        socket.emit("exit", "chat");
        socket.emit("enter", "chat");
        await socket.leaveRoom("chat");
    }""")
    assert await tab.run("() => socket.rooms") == []
    await tab.run("""async () => {
        socket.leaveRoom("chat");
        socket.emit("enter", "chat");
        await socket.request("echo");
    }""")
    assert await tab.run("() => socket.rooms") == ["chat"]


# -- the end ------------------------------------------------------------------------------------


async def test_close_is_the_end(pages: Pages, site: Site) -> None:
    """Waiting requests reject, later ones too, and the client does not reconnect."""
    tab = await pages.open()
    await tab.opened()
    await tab.run("() => { window.waiting = settled(socket.request('wait')); }")
    await until(lambda: site.handled)
    await tab.run("() => { socket.close(); socket.close(); }")
    assert await tab.run("() => waiting") == ["rejected", "lost"]
    site.enough.set()
    await until(lambda: not site.sockets)
    assert await tab.call("socket.request('echo')") == ["rejected", "closed"]
    assert await tab.call("socket.joinRoom('chat')") == ["rejected", "closed"]
    assert await tab.call("socket.leaveRoom('chat')") == ["resolved", None]
    await tab.run("() => { socket.emit('echo'); dispatchEvent(new Event('online')); }")
    assert await tab.run("() => [socket.id, socket.state, socket.dropped]") == [None, "closed", 1]
    log = await tab.log("state", "close")
    assert log == [["state", "open"], ["state", "closed"], ["close", 1000]]
