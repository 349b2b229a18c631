"""Refusals before a connection exists: a status for plain clients, a close code for our own."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.support.peers import WAIT
from tests.support.servers import Server, serve
from wsroom import AdapterError, MemoryAdapter, WSRoom
from wsroom.adapters import Deliver
from wsroom.asgi.handshake import origins_advice
from wsroom.testing import Refused, TestClient

OFFERS = [["wsroom.1"], ["wsroom.1.resume", "wsroom.1"], ["other", "wsroom.1"]]


class Away(MemoryAdapter):
    """An adapter whose broker cannot be reached."""

    async def start(self, deliver: Deliver) -> None:
        raise AdapterError("away")


def app_that_must_not_run(adapter: Any = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)

    @app.on_connect()
    async def on_connect(socket: Any) -> None:
        raise AssertionError("the app's code runs")

    app.add_hook("on_open", on_connect)
    app.add_hook("on_disconnect", lambda socket, code: on_connect(socket))
    return app


async def refusal(
    server: Server, path: str = "/ws", origin: str | None = None, offer: list[str] | None = None
) -> tuple[int, str]:
    """Connect and be refused: an HTTP status and the body, or a close code and the reason."""
    protocols = [Subprotocol(name) for name in offer or ()]
    opening = connect(
        server.url(path),
        origin=None if origin is None else Origin(origin),
        subprotocols=protocols or None,
        open_timeout=WAIT,
    )
    try:
        async with opening as websocket:
            assert websocket.subprotocol == next(name for name in protocols if "wsroom" in name)
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            return closed.value.rcvd.code, closed.value.rcvd.reason
    except InvalidStatus as exc:
        return exc.response.status_code, exc.response.body.decode()


@pytest.mark.parametrize("offer", OFFERS, ids=len)
@pytest.mark.parametrize(
    "path, origin, status, sentence",
    [
        ("/nothing", None, 404, "no WebSocket at /nothing"),
        ("/ws", "https://evil.example", 403, "pages of this origin may not connect"),
        ("/ws", "null", 403, "pages of this origin may not connect"),
    ],
)
async def test_a_client_that_offers_a_subprotocol_gets_a_close_code(
    path: str,
    origin: str | None,
    status: int,
    sentence: str,
    offer: list[str],
    ws: str,
    quiet: pytest.LogCaptureFixture,
) -> None:
    """4000 + the status that a plain client gets, with the same sentence; no code of the app."""
    async with serve(app_that_must_not_run(), ws=ws) as server:
        assert await refusal(server, path, origin) == (status, sentence)
        assert await refusal(server, path, origin, offer) == (4000 + status, sentence)


async def test_an_app_that_cannot_start_refuses_with_4503(ws: str) -> None:
    """Clients try again after it."""
    async with serve(app_that_must_not_run(Away()), ws=ws, lifespan="off") as server:
        sentence = "the server cannot serve sockets now; try again"
        assert await refusal(server) == (503, sentence)
        assert await refusal(server, offer=["wsroom.1"]) == (4503, sentence)


async def test_the_reason_is_short_and_valid_unicode(ws: str) -> None:
    """At most 123 bytes, cut between two characters."""
    async with serve(app_that_must_not_run(), ws=ws) as server:
        code, reason = await refusal(server, "/" + "%C3%A9" * 200, offer=["wsroom.1"])
        assert (code, reason) == (4404, "no WebSocket at /" + "é" * 53)


@pytest.mark.parametrize("offer, status", [(None, 403), (["wsroom.1"], 4403)])
async def test_in_debug_mode_the_reason_names_the_line_to_add(
    offer: list[str] | None, status: int
) -> None:
    """If the origin is an ordinary one; otherwise, and without debug, the page learns nothing."""
    async with serve(app_that_must_not_run(debug=True)) as server:
        line = 'add origins=["http://localhost:5173"] to WSRoom()'
        assert await refusal(server, "/ws", "http://localhost:5173", offer) == (status, line)
        plain = (status, "pages of this origin may not connect")
        for origin in ("null", 'http://a.example"]', "http://" + "a" * 69):
            assert await refusal(server, "/ws", origin, offer) == plain


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "https://[::1]:8000", "chrome-extension://" + "a" * 68]
)
def test_the_line_to_add_works(origin: str) -> None:
    """It fits into a close reason, and an app takes it."""
    advice = origins_advice(origin)
    assert advice is not None and len(advice.encode()) <= 123
    WSRoom(origins=[advice.removeprefix('add origins=["').removesuffix('"] to WSRoom()')])


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://", "http://a b", "http://a\n", "http://a/", "http://a:x", "http://é"],
)
def test_other_origins_get_no_line(origin: str) -> None:
    """A stranger's text gets into a reason only if it has no special character and is valid."""
    assert origins_advice(origin) is None


async def test_a_test_sees_the_close_code() -> None:
    """`Refused.close_code` with a subprotocol, `Refused.status` without one."""
    foreign = {"Origin": "https://evil.example"}
    async with TestClient(app_that_must_not_run()) as client:
        for path, headers, status in (("/nothing", {}, 404), ("/ws", foreign, 403)):
            with pytest.raises(Refused) as caught:
                await client.connect(path, headers=headers)
            assert (caught.value.status, caught.value.close_code) == (status, None)
            with pytest.raises(Refused) as caught:
                await client.connect(path, headers=headers, subprotocols=["wsroom.1"])
            assert (caught.value.status, caught.value.close_code) == (None, 4000 + status)
