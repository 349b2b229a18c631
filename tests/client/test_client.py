"""The Python client on real servers: sending, reconnecting, resuming, and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import signal
import socket as network
import ssl as tls
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.typing import Subprotocol

import wsroom
from tests.support import brokers
from tests.support.clock import HOUR, SECOND, TICK, until
from tests.support.interrupted import interrupted
from tests.support.pages import blocks, save
from tests.support.paths import ROOT
from tests.support.peers import WAIT
from tests.support.processes import eventually, free_port
from tests.support.servers import Server, program, serve
from wsroom import (
    Adapter,
    AdapterError,
    Disconnect,
    Emitter,
    Limits,
    MemoryAdapter,
    Reject,
    SetupError,
    Socket,
    WSRoom,
)
from wsroom.adapters import Deliver, Emission
from wsroom.client import ClientSocket, ConnectionLost, Event, RequestError
from wsroom.client.attempt import Settings
from wsroom.client.listeners import MAX_WAITING
from wsroom.client.recovery import backoff, is_final
from wsroom.wire.emission import Room

PAGE = ROOT / "docs" / "python-client.md"


def chat(adapter: Adapter | None = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)
    tokens: list[str] = []

    @app.on_connect()
    async def on_connect(socket: Socket) -> None:
        token = socket.query.get("token", "")
        tokens.append(token)
        if token == "wrong":
            raise Reject("this token is not valid", status=401)
        if token == "busy":
            raise Reject("try again", status=503)

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        if room == "vip" and socket.query.get("token") != "1":
            raise Reject("members only", code="not_a_member")

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> Any:
        await emitter.to("chat").emit("said", message)
        return message

    @app.on("hush")
    async def hush(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit_except_sender("said", message)

    @app.on("quit")
    async def leave(emitter: Emitter, message: int) -> None:
        raise Disconnect(message, "bye")

    @app.on("hang")
    async def hang(emitter: Emitter) -> None:
        await asyncio.sleep(SECOND)

    @app.on("tokens")
    async def send_tokens(emitter: Emitter) -> list[str]:
        return tokens

    return app


def client(server: Server, **options: Any) -> ClientSocket:
    """Make a client that reconnects after the shortest pause, 0.1 s."""
    options.setdefault("retry_after", TICK)
    options.setdefault("request_timeout", WAIT)
    return wsroom.client.connect(server.url(), **options)


class Heard(list[Any]):
    """The arguments of all calls of a socket's listeners and hooks, in order."""

    def __init__(self, socket: ClientSocket) -> None:
        socket.on("said", self.append)
        for name in ("open", "connected", "close", "error", "resync"):
            self.note(socket, name)

    def note(self, socket: ClientSocket, name: str) -> None:
        def call(*arguments: Any) -> None:
            self.append((name, *arguments))

        getattr(socket, f"on_{name}")(call)

    async def wait(self, *last: Any) -> None:
        """Wait until the last entries are these."""
        try:
            await until(lambda: tuple(self[-len(last) :]) == last)
        except TimeoutError:
            raise AssertionError(f"{last} is not the end of {list(self)}") from None


def cut(server: Server) -> None:
    """Reset all connections, without a close frame."""
    for connection in list(server.server_state.connections):
        transport: Any = connection.transport
        raw = transport.get_extra_info("socket")
        linger = (1).to_bytes(4, "little") + bytes(4)
        raw.setsockopt(network.SOL_SOCKET, network.SO_LINGER, linger)
        transport.abort()


# -- sending and listening --------------------------------------------------------------------


async def test_two_sockets_chat(quiet: pytest.LogCaptureFixture) -> None:
    """Rooms, events with their sender and room, requests, several listeners and "*"."""
    async with serve(chat()) as server, client(server) as a, client(server) as b:
        calls: list[Any] = []
        b.on("said", lambda message, sender, room: calls.append((message, sender, room)))

        @b.on("said")
        async def later(message: Any) -> None:
            await asyncio.sleep(0)
            calls.append(message)

        b.on("*", lambda frame: calls.append(frame["event"]))
        remove = b.on("said", lambda: calls.append("never"))
        remove()
        remove()
        await a.join_room("chat")
        await b.join_room("chat")
        assert a.id != b.id and b.rooms == {"chat"} and b.state == "open"
        assert await a.request("say", "hi") == "hi"
        one = [("hi", a.id, "chat"), "hi", "said"]
        await until(lambda: calls == ["reply", *one])
        b.off("said", later)
        await b.request("hush", "not to me")
        await a.emit("say", "more")
        await until(lambda: calls[-2:] == [("more", a.id, "chat"), "said"])
        assert "not to me" not in calls and "never" not in calls
        b.off("said")
        await b.leave_room("chat")
        assert b.rooms == frozenset()
        await a.request("say", "alone")
        await b.request("tokens")
        assert "alone" not in calls and ("alone", a.id, "chat") not in calls


async def test_requests_raise(quiet: pytest.LogCaptureFixture) -> None:
    """For an `error` of the server, no answer in time, a lost connection, an invalid name."""
    async with serve(chat()) as server, client(server) as socket:
        with pytest.raises(RequestError, match="has no handler for") as error:
            await socket.request("dance")
        assert (error.value.code, error.value.event) == ("unknown_event", "dance")
        with pytest.raises(RequestError, match="not_a_member: members only"):
            await socket.join_room("vip")
        assert socket.rooms == frozenset()
        with pytest.raises(TimeoutError, match=r"no answer to 'hang' within 0\.005 s"):
            await socket.request("hang", timeout=TICK)
        for event in ("joinRoom", "reply", ""):
            with pytest.raises(ValueError, match="another name"):
                await socket.emit(event)
        with pytest.raises(ValueError, match="is empty"):
            await socket.join_room("")
        with pytest.raises(ValueError, match="NaN"):
            await socket.emit("say", float("nan"))
        with pytest.raises(TypeError, match="not JSON"):
            await socket.emit("say", object())
        with pytest.raises(SetupError, match="at most 4 arguments"):
            socket.on("said", lambda a, b, c, d, e: None)
    async with serve(chat()) as server, client(server) as socket:
        with pytest.raises(ConnectionLost, match="4000: bye") as lost:
            await socket.request("quit", 4000)
        assert (lost.value.code, lost.value.reason) == (4000, "bye")


async def test_an_error_without_a_request_is_reported() -> None:
    """`on_error` gets the server's `error` for an `emit`."""
    async with serve(chat()) as server, client(server) as socket:
        heard = Heard(socket)
        await socket.emit("dance")
        await until(lambda: heard)
        name, exc = heard[0]
        assert (name, exc.code, exc.event) == ("error", "unknown_event", "dance")


async def test_a_listener_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others are called, and the next event calls it again."""
    async with serve(chat()) as server, client(server) as socket:
        socket.on("said", lambda message: 1 / message)
        heard = Heard(socket)
        await socket.join_room("chat")
        for _ in range(2):
            await socket.request("say", 0)
        await heard.wait(0, 0)
    assert caplog.text.count("which listens to 'said', failed") == 2


async def test_a_loop_gets_the_events(caplog: pytest.LogCaptureFixture) -> None:
    """From its creation on, in order, until the socket is closed; answers are no events."""
    async with serve(chat()) as server:
        socket = client(server)
        said, everything = socket.events("said"), socket.events()
        async with socket:
            await socket.join_room("chat")
            for number in range(3):
                await socket.request("say", number)
            async for event in said:
                assert (event.event, event.sender, event.room) == ("said", socket.id, "chat")
                if event.message == 1:
                    break
            socket.off("*")
            socket.off("said")
        assert [event.message async for event in said] == [2]
        found = [(event.event, event.message) async for event in everything]
        assert found[0][0] == "connected"
        assert found[1:] == [("said", number) for number in range(3)]
        assert [event async for event in socket.events()] == []
        everything.stop()
        async with socket:
            assert [event async for event in everything] == []
            await socket.request("say", 3)
            assert (await anext(said)).message == 3
    assert [event async for event in said] == []


async def test_a_loop_over_a_socket_that_is_left_takes_nothing_more() -> None:
    """An iterator that nothing refers to does not stop the client, however much arrives."""
    async with serve(chat()) as server, client(server) as socket:
        heard = Heard(socket)
        looping = asyncio.ensure_future(first(socket))
        await socket.join_room("chat")
        await socket.request("say", "x")
        assert (await looping).message == "x"
        for number in range(MAX_WAITING + 10):
            await socket.emit("say", number)
        await heard.wait(MAX_WAITING + 9)


async def first(socket: ClientSocket) -> Event:
    async for event in socket:
        if event.event == "said":
            return event
    raise AssertionError("the socket is closed")


async def test_a_loop_that_waits_holds_the_server_back() -> None:
    """Nothing is dropped: all events arrive when the loop continues, and `stop` releases it."""
    limits = Limits(frames=100_000, burst=100_000)
    async with (
        serve(chat(limits=limits)) as server,
        client(server) as socket,
        client(server) as other,
    ):
        events, unread = socket.events("said"), socket.events("said")
        heard = Heard(socket)
        await socket.join_room("chat")
        count = 3 * MAX_WAITING
        for number in range(count):
            await other.emit("say", number)
        for number in range(MAX_WAITING - 1):
            assert (await anext(events)).message == number
        assert len(heard) < count
        unread.stop()
        for number in range(MAX_WAITING - 1, count):
            assert (await asyncio.wait_for(anext(events), WAIT)).message == number


async def test_emits_wait_for_the_connection_within_bounds() -> None:
    """The oldest are dropped and counted, and their requests raise; volatile ones never wait."""
    async with serve(chat()) as server:
        socket = client(server, buffer=3)
        heard = Heard(socket)
        request = asyncio.create_task(socket.request("say", "first"))
        await until(lambda: socket._keeper.outgoing.queue)
        for number in range(4):
            await socket.emit("say", number)
        await socket.emit("say", "volatile", volatile=True)
        with pytest.raises(ConnectionLost, match="3 newer frames"):
            await request
        late = asyncio.create_task(socket.request("say", "given up", timeout=TICK))
        with pytest.raises(TimeoutError):
            await late
        assert socket.dropped == 3
        async with client(server) as other, socket:
            seen = Heard(other)
            await other.join_room("chat")
            await socket.join_room("chat")
            await socket.emit("say", "volatile, and there is a connection", volatile=True)
            await heard.wait("volatile, and there is a connection")
        assert "given up" not in [*seen, *heard]


async def test_a_frame_over_the_servers_limit_raises_at_once() -> None:
    """`too_large`, as the server would answer; nothing of it is sent."""
    async with serve(chat(limits=Limits(frame_size=200))) as server, client(server) as socket:
        heard = Heard(socket)
        sentence = "too_large: a frame must have at most 200 bytes"
        for verb in (socket.request, socket.emit):
            with pytest.raises(RequestError, match=sentence) as error:
                await verb("say", "é" * 90)
            assert (error.value.code, error.value.event) == ("too_large", "say")
        with pytest.raises(RequestError, match=sentence):
            await socket.join_room("x" * 200)
        overhead = len('{"id":4,"event":"say","message":""}')
        assert await socket.request("say", "x" * (200 - overhead)) == "x" * (200 - overhead)
        assert heard == [] and socket.state == "open"


async def test_kept_frames_are_checked_when_they_are_sent() -> None:
    """Before the first connection the limit is unknown; a request raises, an emit is reported."""
    async with serve(chat(limits=Limits(frame_size=200))) as server:
        socket = client(server)
        heard = Heard(socket)
        await socket.emit("say", "x" * 300)
        request = asyncio.create_task(socket.request("say", "x" * 300))
        fits = asyncio.create_task(socket.request("say", "fits"))
        await until(lambda: len(socket._keeper.outgoing.queue) == 3)
        async with socket:
            with pytest.raises(RequestError, match="at most 200 bytes"):
                await request
            assert await fits == "fits"
            await until(lambda: ("connected",) in heard)
            (exc,) = [entry[1] for entry in heard if entry[0] == "error"]
            assert (exc.code, exc.event) == ("too_large", "say")
            # Now the limit is known, also while it is disconnected.
            cut(server)
            await until(lambda: socket.state == "waiting")
            with pytest.raises(RequestError, match="at most 200 bytes"):
                await socket.emit("say", "x" * 300)


# -- reconnecting -----------------------------------------------------------------------------

ENDS = {"a clean close": 1000, "a restart": 1012, "an app's code": 4300, "a reset": None}


@pytest.mark.parametrize("end", ENDS)
async def test_it_resumes(end: str, quiet: pytest.LogCaptureFixture) -> None:
    """It gets what it missed, once and in order, sends the kept frames, and keeps the session."""
    app = chat()
    async with serve(app) as server, client(server) as socket, client(server) as other:
        code, first, session = ENDS[end], socket.id, socket._keeper.recovery.session
        await socket.join_room("chat")
        await other.join_room("chat")
        await socket.request("hush", "mine")
        heard = Heard(socket)
        states: list[str] = []
        socket.on_state(states.append)
        for round_ in range(2):
            heard.clear()
            states.clear()
            if code is None:
                cut(server)
            else:
                with pytest.raises(ConnectionLost):
                    await socket.request("quit", code)
            await until(lambda: socket.state == "waiting")
            await socket.emit("say", "kept")
            for number in range(3):
                await app.to("chat").emit("said", f"missed {number}")
            await app.to().emit("said", "missed on the path")
            ended = ("close", code or 1006, "bye" if code else "")
            missed = ["missed on the path", *(f"missed {number}" for number in range(3))]
            await heard.wait("kept")
            assert heard == [ended, ("open",), *missed, ("connected",), "kept"], round_
            assert states == ["waiting", "connecting", "open"]
        assert socket.id != first
        assert socket._keeper.recovery.session == session
        assert await socket.request("say", "live") == "live"
        await heard.wait("live")


async def test_only_replayed_messages_have_a_time() -> None:
    """It is the fourth argument of a listener; None for a live message."""
    app = chat()
    async with serve(app) as server, client(server) as socket:
        times: dict[str, int | None] = {}

        @socket.on("said")
        def said(message: str, sender: str | None, room: str | None, time: int | None) -> None:
            times[message] = time

        await socket.join_room("chat")
        await app.to("chat").emit("said", "live")
        await until(lambda: "live" in times)
        cut(server)
        await until(lambda: socket.state == "waiting")
        await app.to("chat").emit("said", "missed")
        await until(lambda: "missed" in times)
        assert times["live"] is None and (times["missed"] or 0) > 1_500_000_000_000


async def test_rooms_are_true_whoever_joined_or_left() -> None:
    """One that the app joined is resumed from its offset; one that it left is forgotten."""
    app = chat()
    sockets: list[Socket] = []

    @app.on_open()
    async def on_open(emitter: Emitter) -> None:
        sockets.append(emitter.socket)

    async with serve(app) as server, client(server) as a:
        heard = Heard(a)
        moved: list[Any] = []
        for event in ("joinedRoom", "leftRoom"):
            a.on(event, lambda message: moved.append((message["room"], a.rooms)))
        await a.join_room("left")
        assert a.rooms == {"left"}
        await sockets[0].join("theirs", "left")
        await sockets[0].leave("left", "not in it")
        await a.request("say", 1)
        assert a.rooms == {"theirs"} == sockets[0].rooms
        assert [room for room, _ in moved] == ["theirs", "left"]
        cut(server)
        await until(lambda: a.state != "open")
        await app.to("theirs").emit("said", "missed")
        await app.to("left").emit("said", "of a room that was left")
        await heard.wait("missed", ("connected",))
        await a.request("say", 1)
        assert a.rooms == {"theirs"} == sockets[-1].rooms
        assert "of a room that was left" not in heard
        # A leave that is under way is the last word, though the app joins before it is handled.
        leaving = asyncio.create_task(a.leave_room("theirs"))
        await asyncio.sleep(0)
        await sockets[-1].leave("theirs")
        await sockets[-1].join("theirs")
        await leaving
        assert a.rooms == set()


async def test_a_join_with_history() -> None:
    """The past comes first, then what is live; the answer is returned; later it is resumed."""
    app = chat()
    async with serve(app) as server, client(server) as reader, client(server) as a:
        since = (await reader.join_room("chat"))["offset"]
        for number in range(4):
            await app.to("chat").emit("said", number)
        heard: list[Any] = []
        a.on("said", lambda message: heard.append(message))
        answer = await a.join_room("chat", last=2)
        assert answer == {"room": "chat", "offset": answer["offset"], "replayed": 2}
        await a.request("say", "live")
        assert heard == [2, 3, "live"]
        assert (await a.join_room("chat", last=2))["replayed"] == 0
        cut(server)
        await until(lambda: a.state != "open" and reader.state != "open")
        await app.to("chat").emit("said", "missed")
        await a.request("say", "live again")
        assert heard == [2, 3, "live", "missed", "live again"]
        await a.leave_room("chat")
        heard.clear()
        answer = await a.join_room("chat", since=since)
        assert answer["recovered"] is True and answer["replayed"] == len(heard) == 7
        with pytest.raises(RequestError, match="invalid_message"):
            await a.join_room("news", last=-1)
        assert a.rooms == {"chat"} and not a._keeper.recovery._late


@pytest.mark.parametrize("live", [False, True])
async def test_a_history_that_breaks_off_is_not_doubled(live: bool) -> None:
    """It continues after the last message that arrived; in a live room, after the live ones."""
    async with interrupted(live) as server:
        async with wsroom.client.connect(server.url, retry_after=TICK) as a:
            heard: list[Any] = []
            a.on("said", lambda message: heard.append(message))
            answer = await a.join_room("chat", last=5, timeout=WAIT)
            assert answer["replayed"] == 0
            resume = next(message for event, message in server.asked if event == "resume")
            assert resume["rooms"]["chat"] == ("c:10" if live else "c:8")
            assert heard == ([8, 11] if live else [8, 9, 10, 11])


async def test_rooms_are_joined_before_kept_frames_are_sent() -> None:
    """A kept emit to a room reaches this socket, also in a room without a history."""
    joined: list[str] = []
    app = chat(WithoutHistory())

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        joined.append(room)

    async with serve(app) as server, client(server) as socket:
        await socket.join_room("chat")
        heard = Heard(socket)
        cut(server)
        await until(lambda: socket.state == "waiting")
        await socket.emit("say", "kept")
        await heard.wait("kept")
        # Without a history it is unknown what was missed.
        resyncs = [("resync", None), ("resync", "chat")]
        assert heard == [("close", 1006, ""), ("open",), *resyncs, ("connected",), "kept"]
        assert joined == ["chat", "chat"]


class WithoutHistory(Adapter):
    """An adapter that keeps no history, so rooms have no offsets."""

    shared = False

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def stop(self, deliver: Deliver) -> None:
        del self._deliver

    async def publish(self, emission: Emission) -> None:
        self._deliver(emission, None)

    async def subscribe(self, room: Room) -> None:
        return

    def unsubscribe(self, room: Room) -> None:
        return


async def test_rooms_that_cannot_be_recovered_are_reported() -> None:
    """A room whose history is too short, and a room that the guard refuses now."""
    tokens = itertools.count(1)
    app = chat(MemoryAdapter(history=2))

    def params() -> dict[str, str]:
        return {"token": str(next(tokens))}

    async with serve(app) as server, client(server, params=params) as socket:
        for room in ("chat", "vip"):
            await socket.join_room(room)
        heard = Heard(socket)
        cut(server)
        for number in range(3):
            await app.to("chat").emit("said", number)
        await heard.wait(("connected",))
        assert heard[:3] == [("close", 1006, ""), ("open",), ("resync", "chat")]
        name, exc = heard[3]
        assert (name, exc.code, exc.detail) == ("error", "not_a_member", "no longer in room 'vip'")
        assert socket.rooms == {"chat"}
        await socket.request("say", "live")
        await heard.wait("live")


async def test_a_loss_during_a_connection_is_reported(valkey: brokers.Broker) -> None:
    """When Redis restarts without its data, the server sends `resync`; `on_resync` is called."""
    async with brokers.valkey() as broker:
        app = chat(wsroom.RedisAdapter(broker.url))
        async with serve(app) as server, client(server) as socket:
            await socket.join_room("chat")
            heard = Heard(socket)
            await broker.restart()
            await until(lambda: ("resync", "chat") in heard and ("resync", None) in heard)
            await socket.request("say", "live")
            await heard.wait("live")


async def test_temporary_failures_of_a_guard_lose_no_message() -> None:
    """After `internal` and `unavailable` it tries again, and then gets all that it missed."""
    failures = iter([AdapterError("the database is away"), KeyError("user")])
    app = WSRoom()

    @app.on_join("chat")
    async def guard(socket: Socket, room: str) -> None:
        if socket.query.get("again") == "yes" and (exc := next(failures, None)):
            raise exc

    attempts: list[dict[str, str]] = []

    def params() -> dict[str, str]:
        attempts.append({"again": "yes"} if attempts else {})
        return attempts[-1]

    async with serve(app) as server, client(server, params=params) as socket:
        await socket.join_room("chat")
        heard = Heard(socket)
        cut(server)
        await app.to("chat").emit("said", "missed")
        await heard.wait("missed", ("connected",))
        assert heard.count("missed") == 1 and ("resync", "chat") not in heard
        assert len(attempts) == 4


async def test_rooms_without_history_may_be_refused_or_fail() -> None:
    """A refused room is reported and forgotten; a failed join is tried again."""
    answers: dict[str, list[Exception]] = {"gone": [], "late": []}
    app = WSRoom(WithoutHistory())

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        if answers[room]:
            raise answers[room].pop()

    async with serve(app) as server, client(server) as socket:
        await socket.join_room("gone")
        await socket.join_room("late")
        answers |= {"gone": [Reject("no more")], "late": [AdapterError("away")]}
        heard = Heard(socket)
        cut(server)
        await heard.wait(("connected",))
        assert socket.rooms == {"late"}
        ((_, exc),) = [entry for entry in heard if entry[0] == "error"]
        assert (exc.code, exc.detail) == ("forbidden", "no more")
        assert heard.count(("resync", "late")) == 1


async def test_a_server_without_resume() -> None:
    """Every room is joined again, and `on_resync` is called for it."""
    frames: list[tuple[str, Any]] = []

    async def old(websocket: ServerConnection) -> None:
        message = {"id": "ws:1", "session": "s", "rooms": {"": "e:0"}}
        await send(websocket, "connected", message)
        async for raw in websocket:
            frame = json.loads(raw)
            frames.append((frame["event"], frame["message"]))
            if frame["event"] == "joinRoom":
                message = {"room": frame["message"], "offset": "e:0"}
                await send(websocket, "reply", message, id=frame["id"])
            elif frame["event"] == "resume":
                error = {"code": "unknown_event", "detail": "what?", "event": "resume"}
                await send(websocket, "error", error, id=frame["id"])
            else:
                await websocket.close(1001)

    async def send(websocket: ServerConnection, event: str, message: Any, **more: Any) -> None:
        frame = {"event": event, "message": message, "sender": None, "room": None, **more}
        await websocket.send(json.dumps(frame))

    protocols = [Subprotocol("wsroom.1")]
    async with serve_websocket(old, "127.0.0.1", 0, subprotocols=protocols) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with wsroom.client.connect(f"ws://127.0.0.1:{port}", retry_after=TICK) as socket:
            await socket.join_room("chat")
            heard = Heard(socket)
            await socket.emit("close me")
            await heard.wait(("connected",))
            assert heard[2:] == [("resync", None), ("resync", "chat"), ("connected",)]
            assert [event for event, _ in frames] == ["joinRoom", "close me", "resume", "joinRoom"]
            assert frames[2][1] == {"session": "s", "rooms": {"": "e:0", "chat": "e:0"}}


async def test_more_rooms_than_fit_into_a_frame() -> None:
    """If the server accepts only small frames, each room is joined separately."""
    async with serve(chat(limits=Limits(frame_size=200))) as server, client(server) as socket:
        rooms = [f"{number} {'x' * 60}" for number in range(3)]
        for room in rooms:
            await socket.join_room(room)
        heard = Heard(socket)
        cut(server)
        await heard.wait(("connected",))
        assert heard[2:] == [("resync", room) for room in (None, *rooms)] + [("connected",)]
        assert socket.rooms == set(rooms)


async def test_joining_survives_a_lost_connection() -> None:
    """Joining and leaving are idempotent, so they wait for the next connection, up to a timeout."""
    gate = asyncio.Event()
    app = WSRoom()

    @app.on_join()
    async def guard(socket: Socket, room: str) -> None:
        await gate.wait()

    async with serve(app) as server, client(server) as socket:
        joining = asyncio.create_task(socket.join_room("chat"))
        await until(lambda: socket._keeper.outgoing._unanswered)
        cut(server)
        await until(lambda: socket.state == "waiting")
        gate.set()
        await asyncio.wait_for(joining, WAIT)
        assert socket.rooms == {"chat"}
        cut(server)
        await until(lambda: socket.state == "waiting")
        with pytest.raises(TimeoutError, match="no answer to leaveRoom 'chat'"):
            await socket.leave_room("chat", timeout=TICK)
        await until(lambda: socket.state == "open")
        assert socket.rooms == frozenset()


async def test_a_room_that_was_left_and_joined_again_is_complete() -> None:
    """Messages that arrive during the leave do not move the offset; those after the join do."""
    app = chat()
    async with serve(app) as server, client(server) as socket:
        await socket.join_room("chat")
        heard = Heard(socket)
        for _ in range(2):
            leaving = asyncio.create_task(socket.leave_room("chat"))
            joining = asyncio.create_task(socket.join_room("chat"))
            await asyncio.gather(leaving, joining, app.to("chat").emit("said", "maybe"))
            await app.to("chat").emit("said", "surely")
            await heard.wait("surely")
            heard.clear()
            cut(server)
            await app.to("chat").emit("said", "missed")
            await heard.wait(("connected",))
            assert heard == [("close", 1006, ""), ("open",), "missed", ("connected",)]
            heard.clear()


async def test_params_is_called_for_each_attempt() -> None:
    """An expired token is replaced; if the function raises, the attempt fails."""
    tokens = itertools.count(1)

    async def params() -> dict[str, str]:
        number = next(tokens)
        if number == 2:
            raise LookupError("no token now")
        return {"token": str(number)}

    async with serve(chat()) as server, client(server, params=params) as socket:
        heard = Heard(socket)
        with pytest.raises(ConnectionLost):
            await socket.request("quit", 1000)
        assert await socket.request("tokens") == ["1", "3"]
        exc = next(entry for entry in heard if entry[0] == "error")[1]
        assert str(exc) == "1006: params() failed: LookupError('no token now')"


async def test_it_waits_for_a_server_that_starts_later() -> None:
    """Entering waits; failed attempts are reported to `on_error`."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}/ws"
    socket = wsroom.client.connect(url, retry_after=TICK, headers={"X-From": "a test"})
    heard = Heard(socket)
    entering = asyncio.create_task(socket.__aenter__())
    await until(lambda: len(heard) == 2)
    assert {name for name, *_ in heard} == {"error"}
    async with run_on(chat(), port):
        await asyncio.wait_for(entering, WAIT)
        assert socket.state == "open"
        await socket.close()


@contextlib.asynccontextmanager
async def run_on(app: WSRoom, port: int) -> Any:
    """Serve on a given port."""
    with network.socket() as listening:
        listening.setsockopt(network.SOL_SOCKET, network.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        async with serve(app, fd=listening.fileno()) as server:
            yield server


async def test_warnings_are_not_repeated_and_have_no_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One for each outage, without the query."""
    async with serve(chat()) as server:
        url = server.url("/ws?token=secret")
        async with wsroom.client.connect(url, retry_after=TICK) as socket:
            heard = Heard(socket)
            for _ in range(2):
                cut(server)
                await heard.wait(("connected",))
                heard.clear()
    said = [record.getMessage() for record in caplog.records if record.name == "wsroom.client"]
    plain = url.partition("?")[0]
    assert said == [f"no connection to {plain} (1006); it tries again"] * 2


# -- closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [("/ws?token=wrong", 4401, "this token is not valid"), ("/nothing", 4404, "no WebSocket")],
)
async def test_a_refusal_is_final(
    path: str, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a client error, as a close code or an HTTP status, it does not try again.

    The exception says why; the log does not say it again.
    """
    async with serve(chat()) as server:
        socket = wsroom.client.connect(server.url(path))
        with pytest.raises(ConnectionLost, match=reason) as lost:
            await asyncio.wait_for(socket.__aenter__(), WAIT)
        assert lost.value.code == code
        assert socket.state == "closed"
        for verb in (socket.emit, socket.request, socket.join_room):
            with pytest.raises(ConnectionLost, match=reason):
                await verb("say")
        with pytest.raises(ConnectionLost, match=reason):
            await asyncio.wait_for(socket.open(), WAIT)
    assert not [record for record in caplog.records if record.name == "wsroom.client"]


async def test_a_policy_close_is_final(quiet: pytest.LogCaptureFixture) -> None:
    """1008: the server closed the connection because of the client."""
    async with serve(chat(limits=Limits(bad_frames=1, event_name=10))) as server:
        async with client(server) as socket:
            for _ in range(2):
                await socket.emit("x" * 20)
            assert (await asyncio.wait_for(socket.wait_closed(), WAIT)).code == 1008
            assert socket.state == "closed"


async def test_it_gives_up_after_max_retries() -> None:
    """It counts failed attempts in a row; entering raises the last reason."""
    async with serve(chat()) as server:
        socket = client(server, max_retries=2, params={"token": "busy"})
        heard = Heard(socket)
        with pytest.raises(ConnectionLost) as lost:
            await asyncio.wait_for(socket.__aenter__(), WAIT)
        assert lost.value.code == 4503
        assert heard == [("open",), ("close", 4503, "try again")] * 3


async def test_a_stable_connection_counts_as_a_success() -> None:
    """Only then the attempts, and their pauses, begin again at 0."""
    assert Settings(url="ws://localhost/ws").stable_after == 5
    async with serve(chat()) as server:
        settings = Settings(url=server.url(), retry_after=TICK, max_retries=1, stable_after=SECOND)
        async with ClientSocket(settings) as socket:
            for _ in range(2):
                await asyncio.sleep(settings.stable_after)
                cut(server)
                await until(lambda: socket.state == "waiting")
                await until(lambda: socket.state == "open")
            cut(server)
            assert (await asyncio.wait_for(socket.wait_closed(), WAIT)).code == 1006


async def test_a_custom_certificate(tmp_path: Path) -> None:
    """wss and https use the given context; the headers are sent."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = tls.create_default_context()
    authority.configure_trust(context)
    app = chat()

    @app.on("from")
    async def sender(emitter: Emitter) -> str:
        return emitter.socket.headers["X-From"]

    files = {"ssl_keyfile": str(tmp_path / "key.pem"), "ssl_certfile": str(tmp_path / "cert.pem")}
    async with serve(app, **files) as server:
        url = server.url(scheme="https").replace("127.0.0.1", "localhost")
        secure = wsroom.client.connect(url, ssl=context, headers={"X-From": "a test"})
        async with secure as socket:
            assert await socket.request("from") == "a test"
        with pytest.raises(ConnectionLost, match="CERTIFICATE_VERIFY_FAILED"):
            async with wsroom.client.connect(url, max_retries=0):
                pass


async def test_close() -> None:
    """Requests raise, listeners get all calls, a second close has no effect."""
    async with serve(chat()) as server:
        socket = client(server)
        heard = Heard(socket)
        async with socket:
            hanging = asyncio.create_task(socket.request("hang"))
            await until(lambda: socket._keeper.outgoing._unanswered)
            with pytest.raises(ValueError, match="must not be sent"):
                await socket.close(1006)
            await socket.close(4001, "enough")
            with pytest.raises(ConnectionLost, match="4001: enough"):
                await hanging
            assert heard == [("open",), ("connected",), ("close", 4001, "enough")]
            for volatile in (True, False):
                with pytest.raises(ConnectionLost, match="4001: enough"):
                    await socket.emit("say", volatile=volatile)
            await socket.close()
        assert (await socket.wait_closed()).code == 4001
        unused = client(server)
        await unused.emit("say")
        await unused.close()
        assert (unused.state, unused.dropped) == ("closed", 1)


async def test_it_can_be_closed_by_its_own_listener_and_while_it_waits() -> None:
    """Without a deadlock, and without a remaining task."""
    before = asyncio.all_tasks()
    async with serve(chat()) as server:
        async with client(server) as socket:
            socket.on("said", lambda: socket.close())
            await socket.join_room("chat")
            await socket.emit("say")
            assert (await asyncio.wait_for(socket.wait_closed(), WAIT)).code == 1000
        waiting = wsroom.client.connect(server.url("/ws?token=busy"), retry_after=HOUR)
        entering = asyncio.create_task(waiting.__aenter__())
        await until(lambda: waiting.state == "waiting")
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert waiting.state == "closed"
    await until(lambda: asyncio.all_tasks() <= before)


# -- opening again -----------------------------------------------------------------------------


async def test_it_can_be_opened_again_after_a_login_expired() -> None:
    """With a new token it is in its rooms, gets what it missed, and keeps its listeners."""
    app = chat()
    token = "1"
    async with serve(app) as server:
        async with client(server, params=lambda: {"token": token}) as socket:
            for room in ("chat", "vip"):
                await socket.join_room(room)
            session = socket._keeper.recovery.session
            heard = Heard(socket)
            states: list[str] = []
            socket.on_state(states.append)
            await socket.open()  # it is open: nothing happens
            token = "wrong"
            with pytest.raises(ConnectionLost):
                await socket.request("quit", 4000)
            lost = await asyncio.wait_for(socket.wait_closed(), WAIT)
            assert lost.code == 4401
            assert socket.rooms == {"chat", "vip"}
            with pytest.raises(ConnectionLost, match="4401"):
                await socket.emit("say", "never")
            await app.to("chat").emit("said", "missed")
            with pytest.raises(ConnectionLost, match="4401"):
                await socket.open()
            assert socket.state == "closed"
            token = "2"
            heard.clear()
            states.clear()
            await socket.open()
            await heard.wait(("connected",))
            (error,) = [entry for entry in heard if entry[0] == "error"]
            assert heard == [("open",), "missed", error, ("connected",)]
            assert error[1].code == "not_a_member"  # the guard decides again
            assert states == ["connecting", "open"]
            assert socket.rooms == {"chat"} and socket._keeper.recovery.session == session
            await socket.request("hush", "not to me")
            assert await socket.request("say", "live") == "live"
            await heard.wait(("connected",), "live")
        assert socket.state == "closed"


@pytest.mark.parametrize("hook", ["on_close", "on_state"])
async def test_a_listener_opens_it_again(hook: str) -> None:
    """It sees that the socket is closed; it does not wait, because what arrives comes after it."""
    app = chat(MemoryAdapter(history=2000))
    tokens = iter(["1", "wrong", "1"])
    calls: list[Any] = []
    async with serve(app) as server:
        async with client(server, params=lambda: {"token": next(tokens)}) as socket:

            async def reopen(*arguments: Any) -> None:
                if socket.state == "closed":
                    calls.append("reopen")
                    await socket.open()
                    calls.append(socket.state)

            getattr(socket, hook)(reopen)
            heard = Heard(socket)
            for room in ("chat", "vip"):
                await socket.join_room(room)
            with pytest.raises(ConnectionLost):
                await socket.request("quit", 4000)
            await app.to("chat").emit("said", "missed")
            await heard.wait("missed", ("connected",))
            assert calls == ["reopen", "connecting"]
            assert await socket.request("say", "live") == "live"
            await heard.wait("live")


async def test_what_waits_ends_with_the_close_although_it_is_opened_again() -> None:
    """Requests, joins and `wait_closed` belong to the time before."""
    async with serve(chat()) as server:
        socket = wsroom.client.connect(server.url("/ws?token=busy"), retry_after=HOUR)
        opening = asyncio.create_task(socket.open())
        await until(lambda: socket.state == "waiting")
        waiting = [
            asyncio.create_task(each)
            for each in (
                socket.wait_closed(),
                socket.join_room("chat"),
                socket.leave_room("news"),
                socket.request("say", 1),
            )
        ]
        await until(lambda: socket._keeper.outgoing.queue)
        await socket.close(4001, "enough")
        again = asyncio.create_task(socket.open())
        await until(lambda: socket.state == "waiting")
        results = await asyncio.gather(opening, *waiting, return_exceptions=True)
        assert [str(each) for each in results] == ["4001: enough"] * 5
        assert socket.rooms == frozenset() and socket.dropped == 1
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
        assert socket.state == "closed"


async def test_it_can_be_entered_again() -> None:
    """`async with` opens it and closes it, any number of times, but not while it is open."""
    before = asyncio.all_tasks()
    async with serve(chat()) as server:
        socket = client(server)
        heard = Heard(socket)
        for number in range(3):
            async with socket:
                if not number:
                    await socket.join_room("chat")
                with pytest.raises(RuntimeError, match="open already"):
                    await socket.__aenter__()
                await socket.request("say", number)
                await heard.wait(number)
            assert socket.state == "closed"
        assert heard.count(("connected",)) == 3 and socket.rooms == {"chat"}
        with pytest.raises(ConnectionLost):
            await socket.leave_room("chat")
        async with socket:
            assert socket.rooms == frozenset()
            await socket.join_room("chat")
            await socket.request("say", "back")
            await heard.wait("back")
    await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize("options", [{"retry_after": 0}, {"buffer": -1}, {"max_retries": -1}])
def test_invalid_arguments_raise(options: dict[str, Any]) -> None:
    """At once, by their names."""
    with pytest.raises(ValueError, match=next(iter(options))):
        wsroom.client.connect("ws://localhost/ws", **options)
    for url in ("/ws", "ftp://localhost/ws", "localhost:8000", "ws:///ws"):
        with pytest.raises(ValueError, match="is not the URL"):
            wsroom.client.connect(url)
    with pytest.raises(ValueError, match="use wss:// with ssl"):
        wsroom.client.connect("ws://localhost/ws", ssl=tls.create_default_context())


# -- odd servers, slow listeners -------------------------------------------------------------


@pytest.mark.parametrize("says", ["hello", "[]", '{"event": "connected", "message": 1}', None])
async def test_another_kind_of_server(says: str | None) -> None:
    """A server that sends other frames, or none, ends the attempt."""

    async def other(websocket: ServerConnection) -> None:
        if says is not None:
            await websocket.send(says)
        await websocket.wait_closed()

    async with serve_websocket(other, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        timeout = SECOND / 4 if says is None else WAIT
        socket = wsroom.client.connect(url, max_retries=0, connect_timeout=timeout)
        with pytest.raises(ConnectionLost) as lost:
            await asyncio.wait_for(socket.__aenter__(), WAIT)
    assert lost.value.code == (1006 if says is None else 1002)


async def test_a_slow_listener_stops_the_reading() -> None:
    """The waiting calls are bounded; no message is lost, and their order stays."""
    gate = asyncio.Event()
    got: list[int] = []
    app = chat()
    async with serve(app) as server, client(server) as socket:

        @socket.on("said")
        async def slow(message: int) -> None:
            await gate.wait()
            got.append(message)

        await socket.join_room("chat")
        for number in range(3000):
            await app.to("chat").emit("said", number)
        await until(lambda: socket._listeners._calls.qsize() >= 1000)
        gate.set()
        await until(lambda: len(got) == 3000)
        assert got == list(range(3000))
        assert socket._listeners._calls.qsize() <= 1001


# -- workers that are killed -----------------------------------------------------------------

WORKERS = """
import os
from wsroom import Emitter, WSRoom

app = WSRoom()

@app.on("say")
async def say(emitter: Emitter, message):
    await emitter.to("chat").emit("said", message)

@app.on("pid")
async def pid(emitter: Emitter):
    return os.getpid()
"""


async def test_nothing_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    """With kill -9 repeated: every answered message arrives everywhere, once and in order."""
    (tmp_path / "app.py").write_text(WORKERS)
    port = free_port()
    command = ["-m", "uvicorn", "app:app", "--port", str(port), "--workers", "2"]
    url = f"ws://127.0.0.1:{port}/ws"

    async def listening() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    async with brokers.valkey() as broker, contextlib.AsyncExitStack() as stack:
        env = {"WSROOM_REDIS_URL": broker.url}
        await stack.enter_async_context(program(*command, cwd=tmp_path, env=env))
        # Each attempt without an answer makes the next one later, and history has 100 messages.
        await eventually(listening)
        sockets, heard = [], []
        for _ in range(5):
            socket = wsroom.client.connect(url, retry_after=TICK, request_timeout=WAIT)
            heard.append(Heard(socket))
            sockets.append(await stack.enter_async_context(socket))
            await socket.join_room("chat")
        publisher = await stack.enter_async_context(
            wsroom.client.connect(url, retry_after=TICK, request_timeout=WAIT)
        )
        answered: list[int] = []
        numbers = itertools.count()
        for _ in range(3):
            enough = len(answered) + 100
            killed = False
            async with asyncio.timeout(2 * WAIT):
                while len(answered) < enough:
                    number = next(numbers)
                    with contextlib.suppress(ConnectionLost):
                        await publisher.request("say", number)
                        answered.append(number)
                    if len(answered) > enough - 50 and not killed:
                        killed = True
                        os.kill(await sockets[0].request("pid"), signal.SIGKILL)
        await publisher.request("say", "last")
        for each in heard:
            await until(lambda: "last" in each)  # noqa: B023
            said = [entry for entry in each if isinstance(entry, int)]
            assert said == sorted(set(said))
            assert set(answered) <= set(said)
            hooks = [entry[0] for entry in each if isinstance(entry, tuple)]
            assert "resync" not in hooks
        assert any(("close", 1006, "") in each for each in heard)


# -- the page --------------------------------------------------------------------------------


async def test_the_pages_programs_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: pytest.LogCaptureFixture
) -> None:
    """docs/python-client.md: the bot answers, the request is answered, the watcher prints."""
    save(PAGE, tmp_path)
    bot = load_module(tmp_path / "bot.py")
    rest: dict[str, Any] = {"connect": wsroom.client.connect}
    for block in blocks(PAGE):
        if block.file is None and block.language == "python":
            exec(block.text, rest)
    app = chat(MemoryAdapter(history=0))

    @app.on("sum")
    async def add(emitter: Emitter, message: list[int]) -> int:
        return sum(message)

    async with serve(app) as server, client(server) as socket:
        heard = Heard(socket)
        await rest["ask"](socket)
        await socket.join_room("chat")
        tasks = [asyncio.create_task(main(server.url())) for main in (bot.main, rest["watch"])]
        async with asyncio.timeout(WAIT):
            while "pong" not in heard:
                await socket.request("say", "ping")
        await until(lambda: "open" in capsys.readouterr().out)
        cut(server)
        await app.to("prices").emit("said", 1)
        async with asyncio.timeout(WAIT):
            while "something is missing in prices" not in capsys.readouterr().out:  # noqa: ASYNC110
                await asyncio.sleep(TICK)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=WAIT)


def load_module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the rules -------------------------------------------------------------------------------


def test_the_pauses() -> None:
    """Full jitter up to twice as much each time, at most 20 s and at least 0.1 s."""
    assert [backoff(tries, 0.5, 1.0) for tries in range(8)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    assert backoff(10**6, 0.5, 0.5) == 10
    assert backoff(0, 0.5, 0.0) == backoff(5, 0.5, 0.001) == 0.1


@pytest.mark.parametrize("code", [1008, 4400, 4401, 4499])
def test_final_codes(code: int) -> None:
    """Only a policy close and client errors in the handshake."""
    assert is_final(code)
    assert not any(map(is_final, (1000, 1001, 1006, 1011, 1012, 1013, 4000, 4399, 4500, 4503)))
