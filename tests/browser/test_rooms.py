"""The room object of wsroom.js: counted handles, listeners of one room, and its members."""

from __future__ import annotations

from tests.support.site import Site
from tests.support.tabs import Pages
from wsroom.adapters import Room
from wsroom.wire.presence import Enter

HELD = """() => {
    window.lists = [];
    window.room = socket.room("crew:1");
    room.onMembers((list) => lists.push(list.map(({ id }) => id).sort().join()));
}"""


async def test_a_page_follows_the_members(pages: Pages, site: Site) -> None:
    """They come with the join, change with `presence`, and are right after a reconnect."""
    ann = await pages.open("/ws?name=ann")
    await ann.run(HELD)
    joined = await ann.run("() => room.joined")
    assert joined["room"] == "crew:1" and joined["count"] == 1
    bob = await pages.open("/ws?name=bob")
    await bob.call("socket.joinRoom('crew:1')")
    await ann.until("() => lists.at(-1) === 'ann,bob' && room.count === 2")
    await bob.call("socket.request('set', {typing: true})")
    await ann.until("() => room.members.get('bob')?.typing === true")
    for socket in list(site.sockets.values()):
        if socket.query["name"] == "ann":
            await socket.close(1012)
    await bob.call("socket.leaveRoom('crew:1')")
    await ann.sees("connected", True, times=2)
    await ann.until("() => lists.at(-1) === 'ann' && !room.members.has('bob')")
    assert ann.errors == []


async def test_a_room_is_left_with_its_last_handle(pages: Pages, site: Site) -> None:
    """Each handle has its own listeners, which are called for this room only."""
    tab = await pages.open("/ws?name=ann")
    await tab.run("""async () => {
        window.heard = [];
        window.one = socket.room("crew:1");
        window.two = socket.room("crew:1");
        one.on("said", (message) => heard.push(["one", message.n]));
        two.on("said", (message) => heard.push(["two", message.n]));
        await Promise.all([one.joined, two.joined, socket.joinRoom("other")]);
    }""")
    joins = [one.frame["message"] for one in tab.sent if one.frame["event"] == "joinRoom"]
    assert joins == ["crew:1", "other"]
    await tab.call("socket.request('say', {room: 'other', n: 1})")
    await tab.call("socket.request('say', {room: 'crew:1', n: 2})")
    await tab.until("() => heard.length === 2")
    await tab.call("one.leave()")
    await tab.call("one.leave()")
    await tab.call("socket.request('say', {room: 'crew:1', n: 3})")
    await tab.until("() => heard.length === 3")
    assert await tab.run("() => heard") == [["one", 2], ["two", 2], ["two", 3]]
    assert await site.to("crew:1").count() == 1
    await tab.call("two.leave()")
    assert await site.to("crew:1").count() == 0
    assert await tab.run("() => socket.rooms") == ["other"]


async def test_a_refused_room_is_reported_once(pages: Pages, site: Site) -> None:
    """To those who wait for `joined`, or else to `onError`; the next handle asks again."""
    site.closed_rooms.add("crew:1")
    tab = await pages.open("/ws?name=ann")
    assert await tab.call("socket.room('crew:1').joined") == ["rejected", "forbidden"]
    await tab.run("() => { socket.room('crew:1'); }")
    await tab.sees("error", "forbidden")
    site.closed_rooms.clear()
    assert (await tab.call("socket.room('crew:1').joined"))[0] == "resolved"
    assert await tab.log("error") == [["error", "forbidden"]]
    assert tab.errors == []


async def test_the_app_takes_the_page_out(pages: Pages, site: Site) -> None:
    """The list is then empty."""
    tab = await pages.open("/ws?name=ann")
    await tab.run(HELD)
    await tab.until("() => lists.at(-1) === 'ann'")
    [socket] = site.sockets.values()
    await socket.leave("crew:1")
    await tab.until("() => lists.at(-1) === '' && room.members.size === 0")
    await socket.join("crew:1")
    await tab.until("() => lists.at(-1) === 'ann'")


async def test_many_members_are_asked_for(pages: Pages, site: Site) -> None:
    """A list that does not fit into one reply is complete; one over the limit is a count."""
    adapter = site.adapter
    steps = [Enter(f"ws:x.{n}", str(n), {"id": n, "text": "x" * 900}) for n in range(999)]
    room = Room("/ws", "crew:1")
    await adapter.change_presence(room, "ws:x", 1, steps, whole=False)  # type: ignore[attr-defined]
    tab = await pages.open("/ws?name=ann")
    await tab.run(HELD)
    await tab.until("() => room.members.size === 1000 && room.count === 1000")
    bob = await pages.open("/ws?name=bob")
    await bob.call("socket.joinRoom('crew:1')")
    await tab.until("() => room.members.size === 0 && room.count === 1001")
    await bob.call("socket.leaveRoom('crew:1')")
    await tab.until("() => room.members.size === 1000 && room.count === 1000")
    assert tab.errors == [] and await tab.log("error") == []
