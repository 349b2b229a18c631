"""The life of a socket: connect, open, join, leave, end; each hook runs as documented."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.clock import HOUR, SECOND, until
from tests.support.fakes import GatedAdapter
from tests.support.linked import TestClient
from tests.support.peers import WAIT, peer
from tests.support.servers import serve
from wsroom import (
    Adapter,
    AdapterError,
    BlockingEmitter,
    BlockingSocket,
    Disconnect,
    Emitter,
    Limits,
    Reject,
    Socket,
    WSRoom,
)
from wsroom.adapters import Deliver, Emission, Offset
from wsroom.testing import Refused
from wsroom.timing import Timing
from wsroom.wire.emission import Room


def recording(app: WSRoom) -> list[Any]:
    """Register every hook; return the list to which they append."""
    log: list[Any] = []

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        await socket.join("lobby")
        log.append("connect")

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        await emitter.emit_to_sender("welcome")
        log.append("open")

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        log.append(("joined", room, sorted(emitter.socket.rooms)))

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        log.append(("left", room, sorted(emitter.socket.rooms)))

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        log.append(("disconnect", code, sorted(socket.rooms)))

    return log


async def test_the_hooks_of_a_socket_run_in_order() -> None:
    """connect, connected, joined, open, ..., left for each room, disconnect; `rooms` stays."""
    app = WSRoom()
    log = recording(app)
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.join("chat")
        await a.leave("lobby")
        await a.leave("lobby")
        await a.join("more")
        await a.close(4321)
        assert log == [
            "connect",
            ("joined", "lobby", ["lobby"]),
            "open",
            ("joined", "chat", ["chat", "lobby"]),
            ("left", "lobby", ["chat"]),
            ("joined", "more", ["chat", "more"]),
            ("left", "chat", ["chat", "more"]),
            ("left", "more", ["chat", "more"]),
            ("disconnect", 4321, ["chat", "more"]),
        ]
        assert [frame["event"] for frame in a.frames][:2] == ["connected", "welcome"]


async def test_def_hooks_run_in_threads() -> None:
    """Every hook may be a `def`; sockets and emitters block there."""
    app = WSRoom()
    log: list[Any] = []
    kinds: dict[str, tuple[type, ...]] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(*args: Any) -> None:
            kinds[name] = tuple(type(arg) for arg in args)
            log.append(name)

        return hook

    def on_connect(socket: BlockingSocket) -> None:
        socket.join("lobby")
        socket.state["name"] = socket.query["name"]
        record("on_connect")(socket)

    app.add_hook("on_connect", on_connect)
    app.add_hook("on_open", lambda emitter: record("on_open")(emitter))
    app.add_hook("on_joined", lambda emitter, room: record("on_joined")(emitter, room))
    app.add_hook("on_left", lambda emitter, room: record("on_left")(emitter, room))
    app.add_hook("on_disconnect", lambda socket, code: record("on_disconnect")(socket, code))
    app.add_hook("on_error", lambda emitter, exc: record("on_error")(emitter, exc))
    app.add_guard(lambda socket, room, **values: record("guard")(socket, room))

    @app.on("name")
    async def name(emitter: Emitter) -> Any:
        return emitter.socket.state["name"]

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError

    async with TestClient(app) as client:
        a = await client.connect(query={"name": "Ada"})
        assert await a.request("name") == "Ada"
        await a.join("chat")
        with pytest.raises(Refused):
            await a.request("fail")
        await a.close()
    assert log == [
        "on_connect",
        "on_joined",
        "on_open",
        "guard",
        "on_joined",
        "on_error",
        "on_left",
        "on_left",
        "on_disconnect",
    ]
    assert kinds["on_connect"] == (BlockingSocket,)
    assert kinds["on_open"] == (BlockingEmitter,)
    assert kinds["on_error"] == (BlockingEmitter, KeyError)
    assert kinds["on_disconnect"] == (BlockingSocket, int)


async def test_connected_is_first_whatever_is_emitted_meanwhile() -> None:
    """Messages for rooms joined in on_connect follow it, if emitted before the handshake ends."""
    app = WSRoom()

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        await socket.join("lobby")
        await app.to("lobby").emit("early", 1)
        await app.to(socket.id).emit("early", 2)

    async with TestClient(app) as client:
        a = await client.connect()
        await client.settle()
        assert [frame["event"] for frame in a.frames] == ["connected", "early", "early"]
        message = dict(a.frames[0]["message"])
        assert message.pop("rooms").keys() == {"", "lobby"}
        assert message == {"id": a.id, "session": a.session, "limits": {"frame": 65536}}
        assert a.frames[0]["sender"] == a.id and a.id.startswith("ws:")


REFUSALS: list[tuple[Exception, int, str]] = [
    (Reject("log in first", status=401), 401, "log in first"),
    (Reject("no"), 403, "no"),
    (Reject(), 403, "Forbidden"),
    (Disconnect(4000, "x"), 403, "Forbidden"),
    (KeyError("secret"), 500, "Internal Server Error"),
]


@pytest.mark.parametrize("exc, status, body", REFUSALS)
async def test_on_connect_refuses_with_a_status(
    exc: Exception, status: int, body: str, ws: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The handshake fails with this status, no other hook runs, and no ERROR is logged."""
    app = WSRoom()
    log = recording(app)

    @app.on_connect(path="/no")
    async def on_connect(socket: Socket) -> None:
        await socket.join("lobby")
        raise exc

    app.add_hook("on_disconnect", lambda socket, code: log.append("ended"), path="/no")
    async with serve(app, ws=ws) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with peer(server, "/no"):
                pass
        assert caught.value.response.status_code == status
        assert caught.value.response.body == body.encode()
        async with peer(server) as a:
            await a.expect("welcome")
    assert "ended" not in log
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == (
        ["on_connect on /no raised"] if status == 500 else []
    )


@pytest.mark.parametrize("exc, status, body", REFUSALS)
async def test_wsroom_1_clients_see_a_refusal_as_a_close(
    exc: Exception, status: int, body: str, ws: str
) -> None:
    """Browsers hide a refused handshake's status, so it is 4000 + the status."""
    app = WSRoom()

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        raise exc

    app.add_hook("on_disconnect", lambda socket, code: pytest.fail("it was never accepted"))
    async with serve(app, ws=ws) as server:
        offered = [Subprotocol("wsroom.1")]
        async with connect(server.url(), subprotocols=offered, open_timeout=WAIT) as client:
            assert client.subprotocol == "wsroom.1"
            with pytest.raises(ConnectionClosed):  # and no `connected` before it
                await asyncio.wait_for(client.recv(), WAIT)
            assert client.close_code == 4000 + status


async def test_the_subprotocol_is_chosen_where_offered() -> None:
    """`wsroom.1` if the client offers it among others; none if it offers only unknown ones."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    async with TestClient(app) as client:
        a = await client.connect(subprotocols=["x", "wsroom.1"])
        b = await client.connect(subprotocols=["x"])
        assert (a.subprotocol, b.subprotocol) == ("wsroom.1", None)


async def test_closing_in_on_connect_refuses() -> None:
    """A socket that was never open cannot be closed, only refused."""
    app = WSRoom()

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        await socket.close(4000)

    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect()
        assert caught.value.status == 403


async def test_guards_decide_about_the_clients_joins_only() -> None:
    """Any exception of a guard prevents the join; the app's own joins call no guard."""
    app = WSRoom()
    asked: list[Any] = []

    @app.on_join("order:{id}")
    async def orders(socket: Socket, room: str, id: str) -> None:
        asked.append((room, id))
        if id == "0":
            raise Reject("not yours", code="not_yours")
        if id == "1":
            raise KeyError("x")
        if id == "2":
            raise Disconnect(4001)

    @app.on("in")
    async def put_in(emitter: Emitter, message: str) -> list[str]:
        await emitter.socket.join(message)
        return sorted(emitter.socket.rooms)

    async with TestClient(app) as client:
        a = await client.connect()
        for room, code in (("order:0", "not_yours"), ("order:1", "internal"), ("x", "forbidden")):
            with pytest.raises(Refused, match=code):
                await a.join(room)
        await a.join("order:7")
        assert await a.request("in", "x") == ["order:7", "x"]
        await a.join("x")
        await a.emit("joinRoom", "order:2")
        assert await a.closed() == 4001
    assert asked == [("order:0", "0"), ("order:1", "1"), ("order:7", "7"), ("order:2", "2")]


async def test_an_unguarded_path_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Any client may join any room there: one warning, not one for each join."""
    app = WSRoom()
    app.add_hook("on_open", lambda emitter: None)
    async with TestClient(app) as client:
        for _ in range(2):
            await (await client.connect()).join("a", "b")
    said = [r.getMessage() for r in caplog.records if "any client may join" in r.getMessage()]
    assert len(said) == 1


async def test_hooks_that_raise_are_answered_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    """on_open and on_joined answer like handlers, once; on_left and on_disconnect only log."""
    app = WSRoom()

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        raise Reject("opened badly")

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        raise KeyError(room)

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        raise Disconnect(4001) if room == "b" else KeyError(room)

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        raise Reject("too late")

    async with TestClient(app) as client:
        a = await client.connect()
        assert (await a.expect("error"))["detail"] == "opened badly"
        await a.join("a", "b")
        await client.settle()
        events = [(frame["event"], frame.get("id")) for frame in a.frames[2:]]
        assert events == [
            ("reply", "test-1"),
            ("error", None),
            ("reply", "test-2"),
            ("error", None),
        ]
        await a.leave("a", "b")
        assert a.close_code is None and len(a.frames) == 8
        await a.close()
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert said == ["on_joined on /ws raised"] * 2 + [
        "on_left on /ws raised",
        "on_left on /ws raised",
        "on_disconnect on /ws raised",
    ]


async def test_socket_methods_reject_invalid_arguments() -> None:
    """join, leave and close raise at once."""
    app = WSRoom(limits=Limits(rooms_per_socket=2))
    seen: list[str] = []

    @app.on("try")
    async def act(emitter: Emitter) -> None:
        socket = emitter.socket
        attempts: list[Callable[[], Any]] = [
            lambda: socket.join(""),
            lambda: socket.join("a" * 129),
            lambda: socket.join(socket.id),
            lambda: socket.join("a", "b", "c"),
            lambda: socket.close(1005),
            lambda: socket.close(2999),
            lambda: socket.close(5000),
            lambda: socket.close(1000, "x" * 124),
        ]
        for attempt in attempts:
            try:
                await attempt()
            except ValueError as exc:
                seen.append(str(exc))
        await socket.leave("nowhere")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.request("try")
        with pytest.raises(Refused, match="too_many_rooms"):
            await a.join("d")
        await a.join("a")
        assert a.close_code is None
    assert [line.split(";")[0] for line in seen] == [
        "room '' is empty",
        f"room {'a' * 129!r} is longer than 128 bytes",
        f"room {a.id!r} is a socket's id, which cannot be joined",
        "a socket may be in at most 2 rooms",
        "close code 1005 must not be sent",
        "close code 2999 must not be sent",
        "close code 5000 must not be sent",
        "close reason is 124 bytes",
    ]


async def test_the_app_closes_after_what_it_wrote(ws: str, quiet: pytest.LogCaptureFixture) -> None:
    """Frames written earlier are sent before the close frame; later frames are not handled."""
    app = WSRoom()
    codes: list[int] = []
    handled: list[Any] = []
    ended = asyncio.Event()

    @app.on("end")
    async def end(emitter: Emitter, message: Any) -> None:
        handled.append(message)
        for number in range(100):
            await emitter.emit_to_sender("said", number)
        await emitter.socket.close(4000, "done")
        await emitter.socket.close(4001, "again")
        await emitter.emit_to_sender("said", "after")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        codes.append(code)
        ended.set()

    async with serve(app, ws=ws) as server, peer(server) as a:
        await a.send("end", 1)
        await a.send("end", 2)
        for number in range(100):
            assert await a.expect("said") == number
        assert await a.closed() == 4000
        assert a.websocket.close_reason == "done"
        await asyncio.wait_for(ended.wait(), WAIT)
    assert codes == [4000] and handled == [1]


class UnavailableAdapter(Adapter):
    """An adapter that cannot reach its broker for some rooms, or for all."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def start(self, deliver: Deliver) -> None: ...
    async def stop(self, deliver: Deliver) -> None: ...
    async def publish(self, emission: Emission) -> None:
        raise AdapterError("away", maybe_sent=True)

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name in self.names:
            raise AdapterError("away")
        return None

    def unsubscribe(self, room: Room) -> None: ...


async def test_an_unavailable_broker_refuses_sockets_and_joins() -> None:
    """A new socket is refused with 503; a join is `unavailable`, and the socket is not in."""
    for away in ("", "lobby"):
        app = WSRoom(UnavailableAdapter(away))
        recording(app)
        async with TestClient(app) as client:
            with pytest.raises(Refused) as caught:
                await client.connect()
            assert caught.value.status == 503
            assert len(app._worker.hub.rooms) == 0 and not app._worker.hub.members
    app = WSRoom(UnavailableAdapter("chat"))
    raised: list[bool] = []

    @app.on("say")
    async def say(emitter: Emitter) -> list[str]:
        try:
            await emitter.to("chat").emit("said")
        except AdapterError as exc:
            raised.append(exc.maybe_sent)
        return sorted(emitter.socket.rooms)

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="unavailable"):
            await a.join("chat")
        assert await a.request("say") == []
    assert raised == [True]


async def test_an_unavailable_broker_is_answered_and_logged_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler or hook that does not catch it is answered `unavailable`; on_error gets each."""
    app = WSRoom(UnavailableAdapter())
    failed: list[BaseException] = []

    @app.on("say", path="/ws")
    @app.on("say", path="/quiet")
    async def say(emitter: Emitter) -> None:
        await emitter.to("chat").emit("said")

    @app.on_join("tell", path="/quiet")
    @app.on_joined(path="/ws")
    async def tell(who: Any, room: str) -> None:
        await app.to("chat").emit("said")

    @app.on_error(path="/quiet")
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        failed.append(exc)

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect("/quiet")
        for connection in (a, b):
            for _ in range(3):
                with pytest.raises(Refused, match="unavailable"):
                    await connection.request("say")
        await a.join("chat")
        assert (await a.expect("error"))["code"] == "unavailable"
        with pytest.raises(Refused, match="unavailable"):
            await b.join("tell")
    assert len(failed) == 3 and isinstance(failed[0], AdapterError)
    warnings = [record for record in caplog.records if "`unavailable`" in record.getMessage()]
    assert len(warnings) == 1 and warnings[0].exc_info is None
    assert warnings[0].getMessage().endswith("`unavailable`: away")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_gone_client_ends_its_handler_after_a_grace(
    quiet: pytest.LogCaptureFixture, ws: str
) -> None:
    """It leaves its rooms at once; the handler is cancelled after the grace; then the hooks.

    Another member of its room is not affected.
    """
    app = WSRoom(_timing=Timing(grace=0.2))
    log: list[str] = []
    ended = asyncio.Event()

    @app.on("sleep")
    async def sleep(emitter: Emitter) -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            log.append("cancelled")

    @app.on("say")
    async def say(emitter: Emitter, message: str) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("loop")
    async def loop(emitter: Emitter) -> None:
        try:
            while True:
                await emitter.emit_to_sender("said")
        finally:
            log.append("cancelled")

    @app.on_left()
    async def on_left(emitter: Emitter, room: str) -> None:
        log.append(f"left {room}")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        log.append("disconnect")
        ended.set()

    async with serve(app, ws=ws) as server, peer(server) as good:
        await good.join("chat")
        for event in ("sleep", "loop"):
            async with peer(server) as a:
                await a.join("chat")
                await a.send(event)
                if event == "loop":
                    await a.expect("said")
                a.websocket.transport.abort()
            if event == "sleep":
                await until(lambda: len(app._worker.hub.members) == 1)
                assert log == []
            await asyncio.wait_for(ended.wait(), WAIT)
            assert log == ["cancelled", "left chat", "disconnect"]
            await good.send("say", event)
            assert await good.expect("said") == event  # and nothing before it
            log.clear()
            ended.clear()


async def test_a_handler_that_ends_in_the_grace_is_not_cancelled() -> None:
    """The app has 5 s to finish its work for a client that has disconnected."""
    app = WSRoom(limits=Limits(handler_timeout=HOUR), _timing=Timing(read_beside_after=0.05))
    gate = asyncio.Event()
    log: list[str] = []

    @app.on("work")
    async def work(emitter: Emitter) -> None:
        await gate.wait()
        await emitter.socket.join("late")
        log.append(f"done in {sorted(emitter.socket.rooms)}")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        log.append(f"disconnect {code}")

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("work")
        await a.emit("work")
        closing = asyncio.create_task(a.close(4567))
        await until(lambda: not app._worker.hub.members)
        assert log == []
        gate.set()
        await closing
        assert log == ["done in ['chat']", "done in ['chat']", "disconnect 4567"]
        assert len(app._worker.hub.rooms) == 0


async def test_concurrent_handlers_end_with_their_socket() -> None:
    """They have the grace too, and end before on_disconnect."""
    app = WSRoom(_timing=Timing(grace=0.05))
    log: list[str] = []

    @app.on("work", concurrent=True)
    async def work(emitter: Emitter) -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            log.append("cancelled")

    @app.on_disconnect()
    async def on_disconnect(socket: Socket, code: int) -> None:
        log.append("disconnect")

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.emit("work")
        await a.close()
    assert log == ["cancelled", "disconnect"]


async def test_a_connection_cancelled_from_outside_still_ends_well() -> None:
    """A server that cancels its tasks at shutdown gets the CancelledError; the hooks run."""
    app = WSRoom()
    log = recording(app)
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await client.settle()
        assert a._task is not None
        a._task.cancel()
        await asyncio.wait([a._task])
        assert a._task.cancelled()
        client.connections.clear()
        assert log[-1] == ("disconnect", 1006, ["chat", "lobby"])
        assert len(app._worker.hub.rooms) == 0


async def test_rooms_are_freed_with_their_last_member() -> None:
    """500 sockets and 1,000 rooms leave nothing behind, not even their objects."""
    app = WSRoom()

    @app.on("event")
    async def event(emitter: Emitter) -> None: ...

    hub = app._worker.hub
    async with TestClient(app, timeout=20 * SECOND) as client:
        first = await client.connect()
        await first.join("keep")
        for number in range(500):
            a = await client.connect()
            await a.join(f"room {number}", f"more {number}", "keep")
            await a.leave(f"more {number}")
            await a.close()
        assert len(hub.rooms) == 2  # the path itself, and "keep"
        assert hub.room_names(hub.members[first.id]) == {"keep"}
        client.connections.clear()
        client.connections.append(first)
        del a
        gc.collect()
        sockets = [thing for thing in gc.get_objects() if type(thing) is Socket]
        worker = first.id.split(".")[0]
        assert [socket.id for socket in sockets if socket.id.startswith(worker)] == [first.id]
    assert len(hub.rooms) == 0 and not hub.members


async def test_a_join_that_a_leave_overtook_has_no_effect() -> None:
    """The last request counts: on_joined does not run, and the socket is not in the room."""
    adapter = GatedAdapter()
    adapter.gate.set()
    app = WSRoom(adapter)
    log: list[str] = []

    @app.on("leave")
    async def leave(emitter: Emitter) -> None:
        await other[0].leave("chat")

    other: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        other.append(emitter.socket)

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        log.append("joined")

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        adapter.gate.clear()
        await a.emit("joinRoom", "chat", id=1)
        await until(lambda: "chat" in adapter.asked)
        await b.request("leave")
        adapter.gate.set()
        await client.settle()
        assert log == [] and other[0].rooms == frozenset()


async def test_a_path_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A path with control characters matches no route."""
    app = WSRoom()

    @app.on_connect(path="/t/{name}")
    async def on_connect(socket: Socket) -> None:
        raise KeyError

    async with TestClient(app) as client:
        with pytest.raises(Refused) as caught:
            await client.connect("/t/a\nERROR wsroom forged")
        assert caught.value.status == 404
    assert "forged" not in caplog.text


@pytest.mark.parametrize("options", [{"detail": ValueError("x")}, {"detail": 5}, {"code": 5}])
def test_a_rejection_takes_strings(options: dict[str, Any]) -> None:
    """Another value is a TypeError where the exception is made, not where it is answered."""
    (name,) = options
    with pytest.raises(TypeError, match=f"^{name} is .*; use a string"):
        Reject(**options)


async def test_a_rejection_has_data_for_the_clients_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a handler and of a guard; `json_default` applies; what is not JSON is `internal`."""
    app = WSRoom(json_default=lambda value: [value.real, value.imag])
    values: dict[str, Any] = {"list": [1, None], "complex": 1j, "no": float("nan"), "none": None}

    @app.on("refuse")
    async def refuse(emitter: Emitter, message: str) -> None:
        raise Reject("no", code="full", data=values[message])

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        raise Reject("no", data={"waiting": 3})

    async with TestClient(app) as client:
        a = await client.connect()
        for message, data in (("list", [1, None]), ("complex", [0.0, 1.0]), ("none", None)):
            with pytest.raises(Refused) as refused:
                await a.request("refuse", message)
            assert (refused.value.code, refused.value.data) == ("full", data)
            assert ("data" in a.frames[-1]["message"]) == (data is not None)
        with pytest.raises(Refused) as refused:
            await a.request("refuse", "no")
        assert refused.value.code == "internal" and "NaN" in caplog.text
        with pytest.raises(Refused) as refused:
            await a.join("chat")
        assert refused.value.data == {"waiting": 3}
