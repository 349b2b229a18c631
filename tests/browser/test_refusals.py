"""wsroom.js if it is refused, cannot connect at all, sends too much, or is opened again."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.support.clock import until
from tests.support.servers import serve
from tests.support.site import Site
from tests.support.tabs import Pages
from wsroom import Limits

LISTEN = """(url, options) => {
    window.log = [];
    window.socket = wsroom.connect(url, options);
    socket.onState((state) => log.push(["state", state]));
    socket.onClose(({ code, reason }) => log.push(["close", code, reason]));
    socket.onError(({ name, code, detail }) => log.push(["error", name, code, detail]));
    socket.on("said", (message) => log.push(["said", message]));
}"""
TOO_LARGE = "a frame must have at most 200 bytes"


def foreign(pages: Pages) -> str:
    """A URL of the same server, to which the page is of another origin."""
    return f"ws://localhost:{pages.server.port}/ws"


@pytest.mark.parametrize("url, code", [("/nothing", 4404), (foreign, 4403)], ids=["path", "origin"])
async def test_an_unknown_path_and_a_foreign_origin_are_final(
    pages: Pages, url: object, code: int
) -> None:
    """One attempt; what waits is rejected, and what is called later too."""
    tab = await pages.open(None)
    address = url(pages) if callable(url) else url
    await tab.run(f"([url]) => ({LISTEN})(url)", [address])
    calls = "[socket.joinRoom('chat'), socket.request('echo', 1)]"
    await tab.run(f"() => {{ window.waiting = {calls}.map(settled); }}")
    assert await tab.run("() => Promise.all(waiting)") == [["rejected", "closed"]] * 2
    await tab.until("() => log.some(([kind]) => kind === 'close')")
    ends = [entry[:2] for entry in await tab.log("state", "close")]
    assert ends == [["state", "closed"], ["close", code]]
    for call in ("joinRoom('chat')", "request('echo')"):
        assert await tab.call(f"socket.{call}") == ["rejected", "closed"]
    assert len(tab.urls) == 1


async def test_in_debug_mode_the_page_learns_which_origin_to_add(browser: Browser) -> None:
    """The reason of the close is the line to write."""
    async with serve(Site(debug=True)) as server:
        pages = Pages(browser, server)
        tab = await pages.open(None)
        await tab.run(f"([url]) => ({LISTEN})(url)", [foreign(pages)])
        line = f'add origins=["{pages.url.rstrip("/")}"] to WSRoom()'
        await tab.sees("close", 4403, line)
        await pages.close()


async def test_a_client_is_opened_again_after_a_login(pages: Pages, site: Site) -> None:
    """4401, a new token, `open()`: the listeners stay, rooms are joined, nothing is missed."""
    site.tokens.add("old")
    tab = await pages.open(None)
    await tab.run("() => { window.token = 'old'; }")
    await tab.run(f"() => ({LISTEN})('/ws', {{ params: () => ({{ token }}) }})")
    await tab.run("() => socket.joinRoom('chat')")
    site.tokens = {"new"}
    (socket,) = site.sockets.values()
    await tab.run("() => socket.request('hush', {room: 'chat', n: 0})")
    await socket.close(4401, "log in")
    await tab.sees("close", 4401, "log in")
    assert await tab.run("() => [socket.state, socket.rooms]") == ["closed", ["chat"]]
    await site.to("chat").emit("said", "missed")
    await tab.run("() => { token = 'wrong'; socket.open(); }")
    await tab.sees("close", 4401, "this token has expired")
    await tab.run("() => { token = 'new'; socket.open(); socket.open(); }")
    await tab.sees("said", "missed")
    await site.to("chat").emit("said", "live")
    await tab.sees("said", "live")
    assert await tab.log("said") == [["said", "missed"], ["said", "live"]]
    assert len(tab.urls) == 3 and await tab.run("() => socket.state") == "open"


async def test_a_room_that_was_refused_by_the_close_is_asked_for_again(
    pages: Pages, site: Site
) -> None:
    """A join that was rejected because the client was closed is not repeated by itself."""
    site.tokens.add("new")
    tab = await pages.open(None)
    await tab.run("() => { window.token = 'old'; }")
    await tab.run(f"() => ({LISTEN})('/ws', {{ params: () => ({{ token }}) }})")
    assert await tab.call("socket.joinRoom('chat')") == ["rejected", "closed"]
    await tab.run("() => { token = 'new'; socket.open(); }")
    await tab.opened()
    assert await tab.run("() => socket.rooms") == []
    assert (await tab.call("socket.joinRoom('chat')"))[0] == "resolved"
    assert site.handled == [("joined", "chat")]


THROWS = "class { constructor() { throw new TypeError('not here'); } }"


@pytest.mark.parametrize(
    "prepare, options, detail",
    [
        (
            "delete globalThis.WebSocket",
            "{}",
            "there is no WebSocket; use the option { WebSocket }",
        ),
        ("0", f"{{ WebSocket: {THROWS} }}", "not here"),
    ],
    ids=["missing", "throws"],
)
async def test_without_a_working_class_it_is_final(
    pages: Pages, prepare: str, options: str, detail: str
) -> None:
    """One clear error, for the listeners that are added after `connect`; calls are rejected."""
    tab = await pages.open(None)
    await tab.run(f"() => {{ {prepare}; ({LISTEN})('/ws', {options}); }}")
    assert await tab.call("socket.joinRoom('chat')") == ["rejected", "closed"]
    assert await tab.log() == [
        ["state", "closed"],
        ["close", 1006, detail],
        ["error", "WSRoomError", "closed", detail],
    ]


async def test_another_class_is_used(pages: Pages, site: Site) -> None:
    """Also if the page has no global one."""
    tab = await pages.open(None)
    await tab.run(f"""() => {{
        const Original = WebSocket;
        window.made = 0;
        class Mine extends Original {{
            constructor(...values) {{ super(...values); made += 1; }}
        }}
        delete globalThis.WebSocket;
        ({LISTEN})('/ws', {{ WebSocket: Mine }});
    }}""")
    assert await tab.call("socket.request('echo', 1)") == ["resolved", 1]
    assert await tab.run("() => made") == 1


async def test_a_frame_that_is_too_large_is_not_sent(browser: Browser) -> None:
    """The error comes at once; the connection stays, and nothing was on the wire."""
    site = Site(limits=Limits(frame_size=200))
    async with serve(site) as server:
        pages = Pages(browser, server)
        tab = await pages.open(None)
        # Before `connected` the limit is unknown: these wait, and are checked when they are sent.
        await tab.run(f"""() => {{
            ({LISTEN})('/ws');
            socket.emit('echo', 'é'.repeat(100));
            window.early = settled(socket.request('echo', 'x'.repeat(200)));
        }}""")
        assert await tab.run("() => early") == ["rejected", "too_large"]
        await tab.sees("error", "WSRoomError", "too_large", TOO_LARGE)
        assert await tab.call("socket.request('echo', 'x'.repeat(200))") == [
            "rejected",
            "too_large",
        ]
        await tab.run("() => socket.emit('echo', 'é'.repeat(100))")
        await tab.sees("error", "WSRoomError", "too_large", TOO_LARGE, times=2)
        assert await tab.call("socket.request('echo', 'fits')") == ["resolved", "fits"]
        assert [frame["message"] for _, frame in tab.sent] == ["fits"]
        assert site.handled == [("echo", "fits")]
        await until(lambda: len(site.sockets) == 1)
        await pages.close()
