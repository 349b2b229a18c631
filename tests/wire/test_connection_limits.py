"""`Limits.connections` and `connections_per_address`: refusals before the handshake."""

from __future__ import annotations

import logging

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clock import until
from tests.support.peers import WAIT, peer
from tests.support.servers import Server, serve
from wsroom import Limits, SetupError, Socket, WSRoom
from wsroom.asgi.admission import Admission, address_of
from wsroom.testing import Refused, TestClient


def make_app(limits: Limits) -> WSRoom:
    app = WSRoom(limits=limits)
    app.connects = []  # type: ignore[attr-defined]

    @app.on_connect()
    async def count(socket: Socket) -> None:
        app.connects.append(socket.id)  # type: ignore[attr-defined]

    return app


async def refused(server: Server) -> tuple[int, str | None, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(server.url("/ws"), open_timeout=WAIT):
            pass
    response = caught.value.response
    return response.status_code, response.headers.get("Retry-After"), response.body.decode()


async def test_one_connection_more_is_refused(ws: str, quiet: pytest.LogCaptureFixture) -> None:
    """With 503 and Retry-After, before any code of the app; a closed one makes room."""
    app = make_app(Limits(connections=2))
    async with serve(app, ws=ws) as server, peer(server):
        with quiet.at_level(logging.WARNING, "wsroom"):
            async with peer(server):
                for _ in range(3):
                    assert await refused(server) == (
                        503, "5", "too many connections; try again later",
                    )  # fmt: skip
        assert quiet.text.count("refused a socket: too many connections") == 1
        await until(lambda: app._worker.admission._open == 1)
        async with peer(server):
            assert len(app.connects) == 3  # type: ignore[attr-defined]


async def test_our_own_clients_get_a_close_code() -> None:
    """4503, after which they try again."""
    async with TestClient(make_app(Limits(connections=1))) as client:
        first = await client.connect()
        with pytest.raises(Refused, match="too many connections") as caught:
            await client.connect(subprotocols=["wsroom.1"])
        assert caught.value.close_code == 4503
        await first.close()
        await client.settle()
        await client.connect(subprotocols=["wsroom.1"])


async def test_refused_handshakes_do_not_use_up_the_limit() -> None:
    """Whatever refuses them."""
    app = make_app(Limits(connections=1))
    async with TestClient(app) as client:
        for _ in range(3):
            with pytest.raises(Refused, match="no WebSocket at"):
                await client.connect("/elsewhere")
        await client.connect()


def test_addresses_are_counted_by_themselves() -> None:
    """Nothing is kept of one without connections."""
    admission = Admission(Limits(connections_per_address=2))
    clients = [{"client": client} for client in (("a", 1), ("a", 2), ("b", 1), None, None, None)]
    assert [admission.enter(client) for client in clients] == [None] * 6
    assert admission.enter(clients[0]) == "too many connections from this address; try again later"
    admission.leave(clients[0])
    assert admission.enter(clients[0]) is None
    for client in clients:
        admission.leave(client)
    assert (admission._open, admission._open_by_address) == (0, {})


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (None, None),
        (("10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:1:2:3::4", 5), "2001:0db8:0001:0002"),
        (("::ffff:10.0.0.1", 5), "10.0.0.1"),
        (("unix:", 0), "unix:"),
    ],
)
def test_an_address_is_a_host_or_a_network(
    client: tuple[str, int] | None, address: str | None
) -> None:
    """Of IPv6 the first 64 bits; an IPv4 address is the same in both forms."""
    assert address_of({"client": client}) == address


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
def test_a_limit_of_connections_may_be_missing(limit: str) -> None:
    """None is no limit, and the default; 0 is a mistake."""
    assert getattr(Limits(), limit) is getattr(Limits(**{limit: None}), limit) is None  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=f"Limits.{limit} is 0"):
        Limits(**{limit: 0})
