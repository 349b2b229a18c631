"""The test client: its waits, its errors, and that it leaves no task behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND
from wsroom import Emitter, Reject, Socket, WSRoom
from wsroom.testing import Refused, TestClient
from wsroom.timing import Timing


def room_app(**options: Any) -> WSRoom:
    app = WSRoom(**options)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("hang")
    async def hang(emitter: Emitter) -> None:
        await asyncio.sleep(HOUR)

    @app.on("beside", concurrent=True)
    async def beside(emitter: Emitter, message: int) -> None:
        for _ in range(message):
            await asyncio.sleep(0)
        await emitter.emit_to_sender("said", "beside")

    @app.on_connect(path="/private")
    async def private(socket: Socket) -> None:
        if socket.cookies.get("user") != "ada":
            raise Reject("log in first", status=401)

    return app


async def test_a_wait_that_fails_shows_the_unread_frames() -> None:
    """A TimeoutError with the frames in it; the connection stays usable and loses nothing."""
    async with TestClient(room_app()) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("say", "one")
        await a.emit("say", "two")
        with pytest.raises(TimeoutError, match=r"no 'other' within 0\.05 s; arrived: .*one.*two"):
            await a.expect("other", timeout=0.05)
        assert [await a.expect("said"), await a.expect("said")] == ["one", "two"]
        with pytest.raises(TimeoutError, match=r"no frame within .*arrived: nothing"):
            await a.receive(timeout=0.05)
        assert (await a.request("joinRoom", "more"))["room"] == "more"


async def test_expect_leaves_other_events_unread() -> None:
    """`expect` returns the next of its event, `receive` the next of all; `frames` has every one."""
    async with TestClient(room_app()) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("say", 1)
        await a.emit("unknown")
        assert (await a.expect("error"))["code"] == "unknown_event"
        assert (await a.receive())["message"] == 1
        assert [f["event"] for f in a.frames] == ["connected", "reply", "said", "error"]


async def test_a_refused_connection_shows_its_status() -> None:
    """With a subprotocol it shows a close code; with the right cookie it is accepted."""
    async with TestClient(room_app()) as client:
        with pytest.raises(Refused, match="401: log in first") as caught:
            await client.connect("/private")
        assert (caught.value.status, caught.value.close_code) == (401, None)
        with pytest.raises(Refused, match="4401: log in first") as caught:
            await client.connect("/private", subprotocols=["wsroom.1"])
        assert (caught.value.status, caught.value.close_code) == (None, 4401)
        with pytest.raises(Refused) as caught:
            await client.connect("/nowhere")
        assert caught.value.status == 404
        await client.connect("/private", cookies={"user": "ada"})
        with pytest.raises(Refused) as caught:
            await client.connect(headers={"Origin": "https://evil.example"})
        assert caught.value.status == 403


async def test_a_request_that_is_refused_shows_its_code() -> None:
    """The answer to the same id, whatever came before it."""
    async with TestClient(room_app()) as client:
        a = await client.connect()
        with pytest.raises(Refused) as caught:
            await a.request("unknown")
        assert (caught.value.code, caught.value.status) == ("unknown_event", None)


async def test_a_connection_keeps_the_last_offset_of_each_room() -> None:
    """It reads them from `connected`, answers and messages, in the order of arrival."""
    app = room_app()
    async with TestClient(app) as client:
        a = await client.connect()
        assert a.offsets.keys() == {""}
        await a.join("chat")
        joined = a.offsets["chat"]
        await a.emit("say", 1)
        await client.settle()
        assert a.offsets["chat"] == a.frames[-1]["offset"] != joined
        await app.to().emit("to all")
        await client.settle()
        assert a.offsets[""] == a.frames[-1]["offset"]
        await a.leave("chat")
        assert a.offsets.keys() == {""}


async def test_a_join_returns_the_reply() -> None:
    """Whole, for the last room; with `last` or `since` it joins with the history."""
    app = room_app()
    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        joined = await a.join("news", "chat")
        assert joined == {"room": "chat", "offset": a.offsets["chat"]}
        for number in range(3):
            await app.to("chat").emit("said", number)
        assert (await b.join("chat", last=2))["replayed"] == 2
        assert [await b.expect("said") for _ in range(2)] == [1, 2]
        await b.leave("chat")
        again = await b.join("chat", since=joined["offset"])
        assert again["replayed"] == 3 and again["recovered"] is True


async def test_a_connection_resumes_another() -> None:
    """It takes over the session; a refused resume changes nothing."""
    app = room_app()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await app.to("chat").emit("said", "missed")
        b = await client.connect(subprotocols=["wsroom.1.resume"])
        own, offsets = b.session, a.offsets
        a.offsets = {"chat": 17}  # type: ignore[dict-item]
        with pytest.raises(Refused, match="invalid_message"):
            await b.resume(a)
        assert b.session == own
        a.offsets = offsets
        await client.settle()
        rooms = await b.resume(a)
        assert rooms.keys() == {"", "chat"} and b.session == a.session != own


async def test_settle_waits_for_all_that_was_sent() -> None:
    """Frames handled, concurrent handlers done, everything delivered."""
    async with TestClient(room_app(), timeout=10 * SECOND) as client:
        a, b = await client.connect(), await client.connect()
        await a.join("chat")
        await b.join("chat")
        for number in range(100):
            await a.emit("say", number)
        await a.emit("beside", 500)
        await client.settle()
        assert [f["message"] for f in b.frames[2:]] == list(range(100))
        assert a.frames[-1]["message"] == "beside"


async def test_settle_shows_which_connection_is_busy() -> None:
    """A handler that does not end is a TimeoutError; the test does not hang."""
    app = room_app(_timing=Timing(grace=0.01))
    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("hang")
        with pytest.raises(TimeoutError, match=f"still running: .*{a.id}"):
            await client.settle(timeout=0.05)


async def test_settle_waits_for_a_slow_handler() -> None:
    """The connection reads frames while the handler runs, but it is not idle."""
    app = room_app(_timing=Timing(read_beside_after=0.01))
    gate = asyncio.Event()

    @app.on("wait")
    async def wait(emitter: Emitter) -> None:
        await gate.wait()

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("wait")
        with pytest.raises(TimeoutError):
            await client.settle(timeout=0.1)
        gate.set()
        await client.settle()


async def test_a_close_by_the_app_is_seen() -> None:
    """`closed` returns the code; a wait for a frame reports the close."""
    app = room_app()

    @app.on("end")
    async def end(emitter: Emitter) -> None:
        await emitter.socket.close(4000, "bye")

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(TimeoutError, match="no close within"):
            await a.closed(timeout=0.01)
        await a.emit("end")
        assert await a.closed() == 4000
        with pytest.raises(TimeoutError, match="then a close with 4000"):
            await a.receive(timeout=0.01)


async def test_an_app_that_raises_fails_the_test() -> None:
    """A bug outside the handlers is not taken for a close."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("broken")

    async with TestClient(broken) as client:
        with pytest.raises(KeyError, match="broken"):
            await client.connect()
        client.connections.clear()


async def test_a_test_that_fails_shows_its_own_failure() -> None:
    """Also if the app does not end in time; no task is left behind."""
    app = room_app()
    for body_fails in (True, False):
        with pytest.raises(AssertionError if body_fails else TimeoutError):
            async with TestClient(app, timeout=0.05) as client:
                a, _ = await client.connect(), await client.connect()
                await a.emit("hang")
                assert not body_fails
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not app._worker.hub.members


async def test_the_host_can_be_given() -> None:
    """For apps that read it, like the check of origins; a query goes into query=."""
    async with TestClient(room_app()) as client:
        await client.connect(headers={"Host": "a.example", "Origin": "https://a.example"})
        with pytest.raises(ValueError, match="give it as query="):
            await client.connect("/ws?a=1")


async def test_nothing_is_left_behind() -> None:
    """After the client's end only the test's own task runs."""
    async with TestClient(room_app()) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("say", 1)
        await a.emit("beside", 5)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_an_app_can_be_run_on_one_event_loop_after_another() -> None:
    """Test suites make a loop for each test, and keep the app."""
    app = room_app()

    async def once() -> None:
        async with TestClient(app) as client:
            a = await client.connect()
            await a.join("chat")
            await a.emit("say", 1)
            assert await a.expect("said") == 1

    for _ in range(2):
        asyncio.run(once())
