"""The browser's plain WebSocket, and examples/chat in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browsers import open_page, run
from tests.support.pages import load_example
from tests.support.peers import bare, peer
from tests.support.processes import free_port
from tests.support.servers import Server, serve
from wsroom import Emitter, Reject, Socket, WSRoom

# -- the browser's own WebSocket, on a page that holds nothing else ----------------------------

# `next` resolves to the first unread frame of an event, `ended` to how it all ended.
CONNECT = """([url, protocols]) => {
    const socket = new WebSocket(url, protocols);
    const frames = [];
    let look = () => {};
    socket.onmessage = ({ data }) => { frames.push(JSON.parse(data)); look(); };
    window.send = (frame) => socket.send(JSON.stringify(frame));
    window.next = (event) => new Promise((resolve) => {
        look = () => {
            const index = frames.findIndex((frame) => frame.event === event);
            if (index < 0) return;
            look = () => {};
            resolve(frames.splice(index, 1)[0]);
        };
        look();
    });
    let error = false;
    socket.onerror = () => { error = true; };
    window.ended = new Promise((resolve) => {
        socket.onclose = ({ code, reason }) => resolve({ error, code, reason });
    });
}"""


def blank(**options: Any) -> WSRoom:
    """An app with an empty page of its own."""
    app = WSRoom(**options)

    @app.page("/")
    def page() -> str:
        return "<!doctype html><title>empty</title>"

    @app.on("noti")
    async def noti(emitter: Emitter, message: object) -> None:
        await emitter.to("chat").emit("noti", message)

    return app


async def connect(page: Page, server: Server, *protocols: str) -> None:
    await run(page, CONNECT, [server.url(), list(protocols)])


async def following(page: Page, event: str) -> dict[str, Any]:
    frame: dict[str, Any] = await run(page, "(event) => next(event)", event)
    return frame


async def send(page: Page, event: str, message: Any) -> None:
    await run(page, "(frame) => send(frame)", {"event": event, "message": message, "id": 1})


async def ended(page: Page) -> dict[str, Any]:
    end: dict[str, Any] = await run(page, "() => ended")
    return end


async def test_a_page_and_a_program_chat_in_a_room(
    browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """A client needs no library: the browser's plain WebSocket is enough."""
    async with serve(blank()) as server, peer(server) as program:
        page = await open_page(browser, server.url("/", "http"))
        await connect(page, server)
        id = (await following(page, "connected"))["message"]["id"]
        await send(page, "joinRoom", "chat")
        assert (await following(page, "reply"))["message"]["room"] == "chat"
        await program.join("chat")

        await send(page, "noti", "from the page")
        expected = {"event": "noti", "message": "from the page", "sender": id, "room": "chat"}
        assert bare(await program.next()) == expected
        assert bare(await following(page, "noti")) == expected

        await program.send("noti", {"né": "🎉"})
        frame = await following(page, "noti")
        assert (frame["message"], frame["sender"]) == ({"né": "🎉"}, program.id)


async def test_a_page_of_another_origin_is_refused(
    browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """A page of another port may connect only if the app lists its origin."""
    async with serve(blank()) as elsewhere, serve(blank()) as server:
        origin = elsewhere.url("", "http")
        page = await open_page(browser, origin)
        await connect(page, server)
        assert await ended(page) == {"error": True, "code": 1006, "reason": ""}
        async with serve(blank(origins=[origin])) as friend:
            await connect(page, friend)
            assert (await following(page, "connected"))["message"]["id"]


async def test_a_page_sees_why_it_is_refused(
    browser: Browser, quiet: pytest.LogCaptureFixture
) -> None:
    """With the subprotocol wsroom.1 a refusal is a close code, without it only a failure."""
    app = blank()

    @app.on_connect()
    async def refuse(socket: Socket) -> None:
        status = int(socket.query.get("status", "403"))
        raise Reject("Members only.", status=status)

    async with serve(app) as server:
        page = await open_page(browser, server.url("/", "http"))
        for status in (401, 403):
            await run(page, CONNECT, [server.url(f"/ws?status={status}"), ["wsroom.1"]])
            refused = {"error": False, "code": 4000 + status, "reason": "Members only."}
            assert await ended(page) == refused
        await connect(page, server)
        assert await ended(page) == {"error": True, "code": 1006, "reason": ""}


# -- examples/chat, used as people use it -------------------------------------------------------


class Guest:
    """A person on a page of examples/chat."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.get_by_label("Message", exact=True)
        self.hint = page.get_by_text("typing…")
        self.people = page.get_by_role("list", name="Here now").get_by_role("listitem")

    async def enter(self, name: str) -> None:
        await self.page.get_by_label("Your name").fill(name)
        await self.page.get_by_role("button", name="Join the chat").click()

    async def join(self, room: str) -> None:
        await self.page.get_by_label("Name of a room to join").fill(room)
        await self.page.get_by_role("button", name="Join the room").click()

    async def say(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    async def sees(self, text: str, room: str = "lobby") -> None:
        await expect(self.log(room).get_by_text(text, exact=True)).to_be_visible()

    def log(self, room: str = "lobby") -> Locator:
        return self.page.get_by_role("log", name=f"Messages in {room}")

    def link(self, room: str) -> Locator:
        return self.page.get_by_role("link", name=f"# {room}")


class Chat:
    """examples/chat on a server, and a browser."""

    def __init__(self, server: Server, browser: Browser) -> None:
        self.url = server.url("/", "http")
        self.errors: list[str] = []
        self._browser = browser

    async def open(self, hash: str = "") -> Guest:
        page = await open_page(self._browser, self.url + hash)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return Guest(page)

    async def guest(self, name: str) -> Guest:
        guest = await self.open()
        await guest.enter(name)
        await guest.sees("You joined")
        return guest


@pytest_asyncio.fixture(loop_scope="session")
async def chat(browser: Browser, quiet: pytest.LogCaptureFixture) -> AsyncIterator[Chat]:
    """The chat; an error on one of its pages fails the test."""
    async with serve(load_example("chat")) as server:
        chat = Chat(server, browser)
        yield chat
        assert chat.errors == []


async def test_two_people_chat(chat: Chat) -> None:
    """Both see who is present, who joins and leaves, the messages, and their authors."""
    ada = await chat.guest("Ada")
    grace = await chat.guest("Grace")
    await ada.sees("Grace joined")
    await expect(ada.people).to_contain_text(["Ada", "Grace"])
    await expect(grace.people).to_contain_text(["Grace", "Ada"])

    await ada.say("Hello!")
    await grace.sees("Hello!")
    await grace.say("Hello to you.")
    await ada.sees("Hello to you.")
    await expect(ada.log().locator(".bubble")).to_contain_text(["Hello!", "Hello to you."])
    await expect(ada.log().locator(".mine")).to_contain_text(["Hello!"])
    await expect(grace.log().locator(".mine")).to_contain_text(["Hello to you."])

    await grace.page.get_by_role("button", name="Leave the room").click()
    await ada.sees("Grace left")
    await expect(ada.people).to_contain_text(["Ada"])
    await expect(grace.page.get_by_text("You are in no room.")).to_be_visible()


async def test_somebody_who_closes_the_window_has_left(chat: Chat) -> None:
    """The end of a connection is announced in each of its rooms."""
    ada, grace = await chat.guest("Ada"), await chat.guest("Grace")
    for guest in (ada, grace):
        await guest.join("garden")
        await guest.sees("You joined", "garden")
    await grace.page.close()
    await ada.sees("Grace left", "garden")
    await ada.link("lobby").click()
    await ada.sees("Grace left", "lobby")


async def test_a_typing_hint_comes_and_goes(chat: Chat) -> None:
    """The others see who is typing, until the message arrives or the typing stops."""
    ada, grace = await chat.guest("Ada"), await chat.guest("Grace")
    await ada.box.press_sequentially("Let me th")
    await expect(grace.hint).to_have_text("Ada is typing…")
    await ada.say("Let me think.")
    await grace.sees("Let me think.")
    assert not await grace.hint.is_visible()
    await grace.box.press_sequentially("Do")
    await expect(ada.hint).to_have_text("Grace is typing…")
    assert not await grace.hint.is_visible()  # her own typing is not shown
    await expect(ada.hint).to_be_hidden()


async def test_a_person_is_in_several_rooms(chat: Chat) -> None:
    """Rooms are separate; a room that is not shown counts unread messages."""
    ada, grace = await chat.guest("Ada"), await chat.guest("Grace")
    await ada.join("Tea Time")
    await ada.sees("You joined", "tea-time")
    await expect(ada.page).to_have_url(f"{chat.url}#tea-time")
    await ada.say("Anybody here?")
    await ada.sees("Anybody here?", "tea-time")

    await grace.say("first")
    await grace.say("second")
    await expect(ada.link("lobby")).to_have_accessible_name("# lobby 2 unread")
    await expect(ada.page).to_have_title("(2) #tea-time · wsroom chat")
    await ada.link("lobby").click()
    await ada.sees("second")
    await expect(ada.link("lobby")).to_have_accessible_name("# lobby")
    await expect(ada.page).to_have_title("#lobby · wsroom chat")
    await expect(grace.log().locator(".bubble")).to_contain_text(["first", "second"])


async def test_a_room_is_shared_by_its_url(chat: Chat) -> None:
    """The hash of the URL is the room to enter; an invalid name is refused."""
    ada = await chat.guest("Ada")
    await ada.join("Café")
    await ada.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await ada.page.get_by_role("button", name="Copy the room's link").click()
    await ada.sees("The room's link is copied: send it to somebody", "café")
    link: str = await run(ada.page, "() => navigator.clipboard.readText()")
    grace = await chat.open(link.removeprefix(chat.url))
    await grace.enter("Grace")
    await ada.sees("Grace joined", "café")

    mallory = await chat.open("#no%20room%")
    await mallory.enter("Mallory")
    await mallory.sees("A room's name has 1 to 32 letters, digits and dashes.", "no%20room%")


async def test_markup_is_shown_as_text(chat: Chat) -> None:
    """Messages and names never become elements of the page."""
    markup = "<img src=x onerror=\"document.title='owned'\">"
    name = "<i>Mallory</i>"
    ada, mallory = await chat.guest("Ada"), await chat.guest(name)
    await ada.sees(f"{name} joined")
    await mallory.box.press_sequentially("<")
    await expect(ada.hint).to_have_text(f"{name} is typing…")
    await mallory.say(markup)
    await ada.sees(markup)
    await expect(ada.people).to_contain_text(["Ada", name])
    await expect(ada.page.locator("img")).to_have_count(0)
    await expect(ada.page.locator("bdi i")).to_have_count(0)


async def test_a_refused_name_says_why(chat: Chat) -> None:
    """The server's error is shown in the form, which accepts another name."""
    guest = await chat.open()
    await guest.enter("   ")
    await expect(guest.page.get_by_role("alert")).to_have_text("A name has 1 to 24 characters.")
    await guest.enter("Ada")
    await guest.sees("You joined")


async def test_a_restart_is_a_plain_reload(browser: Browser) -> None:
    """Nobody has missed anything if the server, which has no Redis, was not there meanwhile."""
    port = free_port()
    async with serve(load_example("chat"), port=port) as server:
        chat = Chat(server, browser)
        ada = await chat.guest("Ada")
        await ada.say("See you")
        await ada.sees("See you")
    await expect(ada.page.get_by_role("status")).to_have_text("Reconnecting…")
    async with serve(load_example("chat"), port=port):
        await ada.sees("You are back")
        await ada.sees("The server has restarted")
        await expect(ada.page.get_by_text("You missed something")).to_have_count(0)
        await ada.say("Hello again")
        await expect(ada.log().locator(".mine")).to_contain_text(["See you", "Hello again"])
    assert chat.errors == []


async def test_the_chat_comes_back_by_itself(chat: Chat) -> None:
    """After a lost connection, and after a reload, the page is in its rooms and misses nothing."""
    ada, grace = await chat.guest("Ada"), await chat.guest("Grace")
    await ada.say("Is the line good?")
    await grace.sees("Is the line good?")
    await ada.page.context.set_offline(True)
    await expect(ada.page.get_by_role("status")).to_have_text("Reconnecting…")
    await grace.sees("Ada left")
    hal = await chat.guest("Hal")
    await grace.say("She is gone.")
    await hal.say("She will be back.")
    await grace.sees("She will be back.")
    await ada.page.context.set_offline(False)
    await ada.sees("You are back")
    await grace.say("Welcome back!")
    await ada.sees("Welcome back!")
    said = ["Is the line good?", "She is gone.", "She will be back.", "Welcome back!"]
    await expect(ada.log().locator(".bubble")).to_contain_text(said)
    await expect(ada.log().locator(".bubble")).to_have_count(4)
    await expect(ada.log().locator(".mine")).to_contain_text(["Is the line good?"])
    for guest in (ada, grace, hal):
        await expect(guest.people).to_have_count(3)
        for name in ("Ada", "Grace", "Hal"):
            await expect(guest.people.filter(has_text=name)).to_have_count(1)
    await expect(ada.log().get_by_text("Ada left")).to_have_count(0)
    await ada.page.reload()
    await ada.sees("You joined")
    await expect(ada.people).to_contain_text(["Ada", "Grace"])
