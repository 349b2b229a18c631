"""`rate=` and `rate_key=` of handlers: how often clients may send an event."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from wsroom import Controller, Emitter, Router, SetupError, Socket, WSRoom, on
from wsroom.testing import Refused, TestClient, TestConnection


async def refused(connection: TestConnection, event: str) -> Refused:
    with pytest.raises(Refused) as caught:
        await connection.request(event)
    return caught.value


async def test_a_rate_is_for_each_socket_and_handler() -> None:
    """As many are handled at once; one more is refused and not handled, the socket stays."""
    app = WSRoom()
    handled: list[str | None] = []

    @app.on("move", rate="3/h")
    async def move(emitter: Emitter) -> str:
        handled.append(emitter.event)
        return "moved"

    @app.on("other", rate="3/h")
    async def other(emitter: Emitter) -> str:
        return "handled"

    async with TestClient(app) as client:
        one, two = await client.connect(), await client.connect()
        assert [await one.request("move") for _ in range(3)] == ["moved"] * 3
        error = await refused(one, "move")
        assert error.code == "rate_limited"
        assert error.detail.startswith("at most 3/h; try again in ")
        assert 1199 < error.data["retry_after"] <= 1200
        assert len(handled) == 3
        assert await one.request("other") == "handled"
        assert await two.request("move") == "moved"


async def test_a_frame_without_an_id_is_refused_too() -> None:
    """The `error` names the event."""
    app = WSRoom()

    @app.on("move", rate="1/min")
    async def move(emitter: Emitter) -> None:
        await emitter.emit_to_sender("moved")

    async with TestClient(app) as client:
        one = await client.connect()
        await one.emit("move")
        await one.expect("moved")
        await one.emit("move")
        error = await one.expect("error")
        assert (error["code"], error["event"]) == ("rate_limited", "move")
        assert 59 < error["data"]["retry_after"] <= 60


async def test_a_refused_client_may_try_again_after_the_time() -> None:
    """`retry_after` is the time until the next is allowed."""
    app = WSRoom()

    @app.on("move", rate="20/s")
    async def move(emitter: Emitter) -> str:
        return "moved"

    async with TestClient(app) as client:
        one = await client.connect()
        for _ in range(20):
            await one.request("move")
        waits = []
        while True:  # as fast as the client can, for the time of one
            try:
                await one.request("move")
            except Refused as exc:
                waits.append(exc.data["retry_after"])
            else:
                break
        assert waits == sorted(waits, reverse=True)
        assert all(0 < wait <= 0.05 for wait in waits)


async def test_handlers_of_every_kind_have_rates() -> None:
    """In a thread, concurrent, for every other event, in a router and a controller."""
    app, router = WSRoom(), Router("/router")

    @app.on("thread", rate="1/h")
    def thread(emitter: object) -> str:
        return "done"

    @app.on("beside", rate="1/h", concurrent=True)
    async def beside(emitter: Emitter) -> str:
        return "done"

    @app.on("*", rate="1/h")
    async def rest(emitter: Emitter) -> str:
        return "done"

    @router.on("move", rate="1/h")
    async def move(emitter: Emitter) -> str:
        return "done"

    class Board(Controller):
        path = "/board"

        @on("move", rate="1/h")
        async def move(self, emitter: Emitter) -> str:
            return "done"

    app.include(router, Board())
    async with TestClient(app) as client:
        main = await client.connect()
        for event in ("thread", "beside", "anything"):
            assert await main.request(event) == "done"
        for event in ("thread", "beside", "something else"):
            assert (await refused(main, event)).code == "rate_limited"
        for path in ("/router", "/board"):
            connection = await client.connect(path)
            assert await connection.request("move") == "done"
            assert (await refused(connection, "move")).code == "rate_limited"


async def test_sockets_with_one_key_share_the_rate() -> None:
    """The rate of a user; sockets whose key is None have their own."""
    app = WSRoom()

    @app.on_connect()
    async def know(socket: Socket) -> str | None:
        return socket.query.get("user")

    @app.on("move", rate="2/h", rate_key=lambda socket: socket.user)
    async def move(emitter: Emitter) -> str:
        return "moved"

    async with TestClient(app) as client:
        phone = await client.connect(query={"user": "ann"})
        laptop = await client.connect(query={"user": "ann"})
        other = await client.connect(query={"user": "bob"})
        assert await phone.request("move") == await laptop.request("move") == "moved"
        assert (await refused(phone, "move")).code == "rate_limited"
        await laptop.close()
        laptop = await client.connect(query={"user": "ann"})
        assert (await refused(laptop, "move")).code == "rate_limited"
        assert await other.request("move") == "moved"
        unknown = [await client.connect(), await client.connect()]
        for connection in unknown:
            assert [await connection.request("move") for _ in range(2)] == ["moved"] * 2


async def test_a_key_that_raises_is_a_failure_of_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is answered `internal`, and logged."""
    app = WSRoom()

    def key(socket: Socket[Any]) -> str:
        raise LookupError("no user")

    @app.on("move", rate="2/h", rate_key=key)
    async def move(emitter: Emitter) -> None: ...

    async with TestClient(app) as client:
        with caplog.at_level(logging.ERROR, "wsroom"):
            assert (await refused(await client.connect(), "move")).code == "internal"
    assert "the handler of 'move' on /ws raised" in caplog.text


async def test_two_apps_with_one_router_count_by_themselves() -> None:
    """Nothing of an app is in its registrations."""
    router = Router()

    @router.on("move", rate="1/h", rate_key=lambda socket: "everybody")
    async def move(emitter: Emitter) -> str:
        return "moved"

    for _ in range(2):
        app = WSRoom()
        app.include(router)
        async with TestClient(app) as client:
            connection = await client.connect()
            assert await connection.request("move") == "moved"
            assert (await refused(connection, "move")).code == "rate_limited"


async def later(socket: Socket) -> str:
    return socket.id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": "10"}, 'use a text such as "10/s"'),
        ({"rate_key": lambda socket: 1}, 'give rate="10/s" too'),
        ({"rate": "1/s", "rate_key": "id"}, r"use a function that takes \(socket\)"),
        ({"rate": "1/s", "rate_key": lambda: 1}, r"use a function that takes \(socket\)"),
        ({"rate": "1/s", "rate_key": later}, "must return at once; write it with def"),
    ],
)
def test_an_invalid_rate_is_refused_when_it_is_registered(
    options: dict[str, Any], message: str
) -> None:
    """The error says what is right."""
    app = WSRoom()
    with pytest.raises(SetupError, match=message):
        app.add_handler("move", lambda emitter: None, **options)
