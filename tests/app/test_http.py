"""The app's HTTP answers, on real uvicorn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.support.peers import peer
from tests.support.servers import get, serve
from wsroom import AdapterError, Emitter, MemoryAdapter, SetupError, WSRoom
from wsroom.adapters import Deliver
from wsroom.asgi.handshake import server_of


def site(**options: Any) -> WSRoom:
    app = WSRoom(**options)

    @app.on("intro")
    async def intro(emitter: Emitter) -> None: ...

    @app.page("/")
    def home() -> str:
        return "<h1>é</h1>"

    @app.page("/async")
    async def later() -> str:
        await asyncio.sleep(0)
        return "later"

    @app.page("/broken")
    async def broken() -> Any:
        return 5

    return app


async def test_a_page_is_served() -> None:
    """HTML of a `def` or an `async def`; HEAD has the length and no body; POST is 405."""
    async with serve(site()) as server:
        status, response = await get(server, "/")
        assert (status, response.text) == (200, "<h1>é</h1>")
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        status, response = await get(server, "/", "HEAD")
        assert (status, response.text, response.headers["content-length"]) == (200, "", "11")
        assert (await get(server, "/async"))[1].text == "later"
        status, response = await get(server, "/", "POST")
        assert (status, response.headers["allow"]) == (405, "GET, HEAD")


async def test_a_page_that_fails_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """The reason is in the log, not in the response."""
    async with serve(site()) as server:
        status, response = await get(server, "/broken")
        assert status == 500 and "int" not in response.text
    assert "the page at /broken failed" in caplog.text


async def test_a_websocket_path_asks_for_an_upgrade() -> None:
    """426, the header that RFC 9110 requires, and a sentence."""
    async with serve(site()) as server:
        status, response = await get(server, "/ws")
        assert status == 426
        assert response.headers["upgrade"] == "websocket"
        assert "new WebSocket" in response.text


async def test_a_server_without_websockets_names_the_package(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An upgrade that arrives as plain HTTP means that no library is installed."""
    async with serve(site(), ws="none") as server:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        status, response = await get(server, "/ws", headers=headers)
        assert status == 501 and "uvicorn[standard]" in response.text
    assert "no WebSocket library" in caplog.text


async def test_health() -> None:
    """200 while the process runs."""
    async with serve(site()) as server:
        status, response = await get(server, "/healthz")
        assert (status, response.json()) == (200, {"status": "ok"})


class Broker(MemoryAdapter):
    """An adapter whose broker can be unavailable, from the start or later."""

    unavailable = False

    @property
    def healthy(self) -> bool:
        return not self.unavailable

    async def start(self, deliver: Deliver) -> None:
        if self.unavailable:
            raise AdapterError("the broker does not answer")
        await super().start(deliver)


async def test_readiness(caplog: pytest.LogCaptureFixture) -> None:
    """200 if the app has started and reaches its broker, else 503."""
    adapter = Broker()
    async with serve(site(adapter=adapter)) as server:
        status, response = await get(server, "/readyz")
        assert (status, response.json()) == (200, {"status": "ready"})
        adapter.unavailable = True
        status, response = await get(server, "/readyz")
        assert (status, response.json()) == (503, {"status": "not ready"})
        adapter.unavailable = False
        assert (await get(server, "/readyz"))[0] == 200
        assert (await get(server, "/readyz", "POST"))[0] == 404
    # Without a lifespan the request starts the app, as the first connection does.
    adapter = Broker()
    adapter.unavailable = True
    app = site(adapter=adapter)
    async with serve(app, lifespan="off") as server:
        assert (await get(server, "/readyz"))[0] == 503
        assert "not ready: the broker does not answer" in caplog.text
        adapter.unavailable = False
        assert (await get(server, "/readyz"))[0] == 200
        await app._worker.stop()
        assert (await get(server, "/readyz"))[0] == 503


async def test_everything_else_is_404_or_the_app_behind() -> None:
    """`http=` gets all requests that are not the app's, also those with other methods."""

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = f"{scope['method']} {scope['path']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with serve(site()) as server:
        status, response = await get(server, "/nothing")
        assert (status, response.text) == (404, "/nothing does not exist")
    async with serve(site(http=behind)) as server:
        for method, path in (("GET", "/nothing"), ("POST", "/"), ("POST", "/ws")):
            assert (await get(server, path, method))[1].text == f"{method} {path}"
        assert (await get(server, "/"))[1].text == "<h1>é</h1>"
        assert (await get(server, "/ws"))[0] == 426
        async with peer(server):
            pass


async def test_the_document_is_served_if_the_app_says_so() -> None:
    """In debug mode, or with `docs`; else the path is free for the app itself."""
    async with serve(site(debug=True)) as server:
        status, response = await get(server, "/asyncapi.json")
        assert status == 200 and response.headers["content-type"] == "application/json"
        described = response.json()
        assert described["servers"] == {
            "this": {"host": f"127.0.0.1:{server.port}", "protocol": "ws"}
        }
        assert "ws.receive.intro" in described["operations"]
        assert (await get(server, "/asyncapi.json", "HEAD"))[1].text == ""
        assert (await get(server, "/asyncapi.json", "POST"))[0] == 404
    async with serve(site(docs=True)) as server:
        assert (await get(server, "/asyncapi.json"))[0] == 200
    async with serve(site()) as server:
        assert (await get(server, "/asyncapi.json"))[0] == 404


async def test_the_document_has_what_the_app_says_about_itself() -> None:
    """Its parts are merged into the rest; its own servers remain."""
    servers = {"production": {"host": "chat.example", "protocol": "wss"}}
    app = site(docs={"info": {"title": "Chat"}, "servers": servers})
    assert app.docs == {"info": {"title": "Chat"}, "servers": servers}
    assert app.asyncapi()["info"] == {"title": "Chat", "version": "0.1.0"}
    async with serve(app) as server:
        described = (await get(server, "/asyncapi.json"))[1].json()
        assert described == app.asyncapi() and described["servers"] == servers


async def test_the_document_of_a_mounted_app_names_its_place() -> None:
    """`pathname` is the path of the mount, behind TLS the protocol is `wss`."""
    outer = Starlette(routes=[Mount("/rt", site(docs=True))])
    async with serve(outer) as server:
        described = (await get(server, "/rt/asyncapi.json"))[1].json()
        assert described["servers"]["this"]["pathname"] == "/rt"
        assert described["channels"]["ws"]["address"] == "/ws"
    scope = {"scheme": "https", "headers": [], "server": ("::1", 8443)}
    assert server_of(scope) == {"host": "[::1]:8443", "protocol": "wss"}


def test_docs_of_another_type_are_refused() -> None:
    """At the construction, with what to write."""
    with pytest.raises(SetupError, match=r"docs is 'yes'; use True, or a mapping"):
        WSRoom(docs="yes")  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="docs is not JSON: Type is not JSON serializable: object"):
        WSRoom(docs={"info": {"x-logo": object()}})
