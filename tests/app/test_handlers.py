"""How handlers run: order, answers, errors, threads, budgets."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND
from tests.support.linked import TestClient
from wsroom import (
    BlockingEmitter,
    BlockingSocket,
    Disconnect,
    Emitter,
    Limits,
    Reject,
    WSRoom,
)
from wsroom.testing import Refused
from wsroom.timing import Timing


async def test_frames_of_a_socket_are_handled_one_at_a_time_in_order() -> None:
    """The next frame waits for the last one's handler; other sockets do not wait."""
    app = WSRoom()
    log: list[Any] = []
    gate = asyncio.Event()

    @app.on("work")
    async def work(emitter: Emitter, message: Any) -> None:
        log.append(("begin", message))
        if message == 1:
            await gate.wait()
        log.append(("end", message))

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        await a.emit("work", 1)
        await a.emit("work", 2)
        await b.request("work", 3)
        assert log == [("begin", 1), ("begin", 3), ("end", 3)]
        gate.set()
        await client.settle()
        assert log[3:] == [("end", 1), ("begin", 2), ("end", 2)]


async def test_concurrent_handlers_do_not_block_the_next_frames() -> None:
    """`concurrent=True` opts out of the order, up to the limit; then frames wait."""
    app = WSRoom(limits=Limits(concurrent=2))
    running: list[Any] = []
    gates = [asyncio.Event() for _ in range(3)]

    @app.on("work", concurrent=True)
    async def work(emitter: Emitter, message: int) -> int:
        running.append(message)
        await gates[message].wait()
        return message

    @app.on("other")
    async def other(emitter: Emitter) -> str:
        return "other"

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("work", 0, id="0")
        await a.emit("work", 1, id="1")
        assert await a.request("other") == "other"
        await a.emit("work", 2, id="2")
        await a.emit("other", id="last")
        gates[1].set()
        assert (await a.receive())["id"] == "1"
        assert (await a.receive())["id"] == "last"
        gates[2].set()
        assert (await a.receive())["id"] == "2"
        assert running == [0, 1, 2]
        gates[0].set()
        assert (await a.receive())["id"] == "0"


async def test_a_return_value_answers_a_frame_with_an_id() -> None:
    """Any valid id is returned unchanged; a frame without an id gets no answer."""
    app = WSRoom()

    @app.on("add")
    async def add(emitter: Emitter, message: list[int]) -> int:
        return sum(message)

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("add", [1, 2])
        for id in (0, "", -1, "é" * 100):
            await a.emit("add", [3, 4], id=id)
            assert await a.receive() == {
                "event": "reply",
                "message": 7,
                "sender": None,
                "room": None,
                "id": id,
            }


async def test_star_handles_events_without_a_handler() -> None:
    """The handler of "*" gets the event's name; it never gets the protocol's own events."""
    app = WSRoom()

    @app.on("known")
    async def known(emitter: Emitter) -> str:
        return "known"

    @app.on("*")
    async def rest(emitter: Emitter, message: Any) -> list[Any]:
        return [emitter.event, message]

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("known") == "known"
        assert await a.request("what", 1) == ["what", 1]
        assert await a.request("*", 1) == ["*", 1]
        for reserved in ("connected", "reply", "error", "resync"):
            with pytest.raises(Refused, match="unknown_event"):
                await a.request(reserved)


async def test_what_a_handler_raises_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """Reject: its code; Disconnect: a close; anything else: `internal`, and a log entry."""
    app = WSRoom()

    @app.on("reject")
    async def reject(emitter: Emitter) -> None:
        raise Reject("no money left", code="no_money")

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError("secret")

    @app.on("cancelled")
    async def cancelled(emitter: Emitter) -> None:
        raise asyncio.CancelledError

    @app.on("leave")
    async def leave(emitter: Emitter) -> None:
        raise Disconnect(4001, "bye")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("reject", id=1)
        assert await a.receive() == {
            "event": "error",
            "message": {"code": "no_money", "detail": "no money left", "event": "reject"},
            "sender": None,
            "room": None,
            "id": 1,
        }
        assert not caplog.records
        for event in ("fail", "cancelled"):
            await a.emit(event)
            error = await a.expect("error")
            assert (error["code"], error["event"]) == ("internal", event)
            assert "secret" not in error["detail"]
        assert [record.exc_info is not None for record in caplog.records] == [True, True]
        await a.emit("leave")
        assert await a.closed() == 4001
        assert a.close_reason == "bye"


@pytest.mark.parametrize("detail", ["x" * 2_000_000, "\ud800", "a\0b"])
async def test_a_rejection_can_always_be_sent(detail: str) -> None:
    """At most 1,000 characters of its sentence are sent, as valid Unicode."""
    app = WSRoom()

    @app.on("reject")
    async def reject(emitter: Emitter) -> None:
        raise Reject(detail, code="\udfff")

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused) as caught:
            await a.request("reject")
        assert caught.value.code == "?" and 1 <= len(caught.value.detail) <= 1000


async def test_debug_tells_the_client_what_was_raised() -> None:
    """Only with `debug=True` does an exception's text leave the server."""
    app = WSRoom(debug=True)

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError("secret")

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match=r"KeyError.*secret"):
            await a.request("fail")


async def test_on_error_replaces_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It gets the emitter and the exception; the answer and the connection stay."""
    app = WSRoom()
    seen: list[Any] = []

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError("x")

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        seen.append((emitter.event, repr(exc)))
        if len(seen) == 2:
            raise RuntimeError("on_error fails too")

    async with TestClient(app) as client:
        a = await client.connect()
        for _ in range(2):
            with pytest.raises(Refused, match="internal"):
                await a.request("fail")
    assert seen == [("fail", "KeyError('x')")] * 2
    assert [record.getMessage() for record in caplog.records] == ["on_error on /ws raised"]


@pytest.mark.parametrize("value", [1j, float("nan"), 2**70, b"bytes", object()])
async def test_what_a_handler_cannot_return_or_emit_is_its_error(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered `internal`, and the log contains the reason."""
    app = WSRoom()

    @app.on("return")
    async def give(emitter: Emitter) -> Any:
        return value

    @app.on("emit")
    async def emit(emitter: Emitter) -> None:
        await emitter.to("chat").emit("said", value)

    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        for event in ("return", "emit"):
            with pytest.raises(Refused, match="internal"):
                await a.request(event)
        await client.settle()
        assert [frame["event"] for frame in a.frames[2:]] == ["error", "error"]
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info is not None for record in logged] == [True, True]


async def test_def_handlers_run_in_threads_with_blocking_emitters() -> None:
    """They emit, join, leave and answer like other handlers, one at a time for each socket."""
    app = WSRoom()
    threads: set[int] = set()

    @app.on("work")
    def work(emitter: BlockingEmitter, message: Any) -> list[str]:
        threads.add(threading.get_ident())
        emitter.socket.join("chat", "more")
        emitter.socket.leave("more")
        emitter.socket.state["seen"] = message
        emitter.to("chat").emit("said", 1)
        emitter.to("chat").except_("chat").emit("said", 2)
        emitter.to("chat").emit_except_sender("said", 3)
        emitter.emit_to_sender("said", 4)
        return sorted(emitter.socket.rooms)

    @app.on("state")
    async def state(emitter: Emitter) -> Any:
        return emitter.socket.state

    @app.on("close")
    def close(emitter: BlockingEmitter) -> None:
        emitter.socket.close(4000)

    @app.on("fail")
    def fail(emitter: BlockingEmitter) -> None:
        raise StopIteration

    @app.on("reject")
    def reject(emitter: BlockingEmitter) -> None:
        raise Reject("no")

    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        await b.join("chat")
        assert await a.request("work", "x") == ["chat"]
        assert [f["message"] for f in a.frames if f["event"] == "said"] == [1, 4]
        await client.settle()
        assert [f["message"] for f in b.frames if f["event"] == "said"] == [1, 3]
        assert await a.request("state") == {"seen": "x"}
        for event, code in (("fail", "internal"), ("reject", "forbidden")):
            with pytest.raises(Refused, match=code):
                await a.request(event)
        await a.emit("close")
        assert await a.closed() == 4000
    assert threads and threading.get_ident() not in threads


async def test_a_blocking_emitter_on_the_loop_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It would wait for itself forever."""
    app = WSRoom()
    kept: list[BlockingEmitter] = []

    @app.on("keep")
    def keep(emitter: BlockingEmitter) -> None:
        kept.append(emitter)

    async with TestClient(app) as client:
        a = await client.connect()
        await a.request("keep")
        with pytest.raises(RuntimeError, match="write the handler with async def"):
            kept[0].emit("said")


async def test_a_handler_has_a_budget(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that exceeds it is cancelled and answered `timeout`; the next frame is handled."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))
    cleaned: list[str] = []

    @app.on("slow")
    async def slow(emitter: Emitter) -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            cleaned.append("slow")

    @app.on("beside", concurrent=True)
    async def beside(emitter: Emitter) -> None:
        await asyncio.sleep(HOUR)

    @app.on("stubborn")
    async def stubborn(emitter: Emitter) -> str:
        try:
            await asyncio.sleep(HOUR)
        except asyncio.CancelledError:
            return "made it"
        return "slept"

    @app.on("next")
    async def following(emitter: Emitter) -> str:
        return "next"

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        for event in ("slow", "beside"):
            with pytest.raises(Refused, match=r"timeout: it took longer than 0\.05 s"):
                await a.request(event)
            assert await a.request("next") == "next"
        assert await a.request("stubborn") == "made it"
        assert await a.request("next") == "next"
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()
    assert cleaned == ["slow"]
    assert "took too long" in caplog.text


async def test_a_thread_over_its_budget_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The client is answered `timeout`; the thread can no longer use the loop."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))
    gate = threading.Event()
    outcome: list[str] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.on("slow")
    def slow(emitter: BlockingEmitter) -> None:
        gate.wait(30 * SECOND)
        try:
            emitter.emit("said", "too late")
        except RuntimeError as exc:
            outcome.append(str(exc))
        loop.call_soon_threadsafe(ended.set)

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="timeout"):
            await a.request("slow")
        gate.set()
        await asyncio.wait_for(ended.wait(), 10 * SECOND)
        await client.settle()
        assert "said" not in [frame["event"] for frame in a.frames]
    assert outcome == ["this handler was given up (its time is over or its client gone)"]


async def test_a_socket_knows_its_handshake() -> None:
    """Headers in any case, query, cookies, client, path; each of the documented shape."""
    app = WSRoom()

    @app.on("who", path="/t/{tenant}")
    async def who(emitter: Emitter) -> dict[str, Any]:
        socket = emitter.socket
        return {
            "header": socket.headers["X-TOKEN"],
            "query": dict(socket.query),
            "cookies": dict(socket.cookies),
            "path": socket.path,
            "params": dict(socket.path_params),
            "client": socket.client,
            "id": socket.id,
            "state": socket.state,
        }

    async with TestClient(app) as client:
        a = await client.connect(
            "/t/acme",
            headers={"x-Token": "s3cret"},
            query={"a": "1 2", "b": ""},
            cookies={"session": "a b", "theme": "dark"},
        )
        assert await a.request("who") == {
            "header": "s3cret",
            "query": {"a": "1 2", "b": ""},
            "cookies": {"session": "a b", "theme": "dark"},
            "path": "/t/acme",
            "params": {"tenant": "acme"},
            "client": ["testclient", 50000],
            "id": a.id,
            "state": {},
        }


async def test_def_hooks_behind_def_handlers_do_not_wait_for_each_other() -> None:
    """More handlers than threads, and each causes a hook that needs a thread too."""
    app = WSRoom()
    joined: list[str] = []

    @app.on("work")
    def work(emitter: BlockingEmitter) -> str:
        emitter.socket.join("chat")
        return "done"

    @app.on_joined()
    def on_joined(emitter: BlockingEmitter, room: str) -> None:
        joined.append(emitter.socket.id)

    async with TestClient(app, timeout=9 * SECOND) as client:
        clients = [await client.connect() for _ in range(70)]
        replies = await asyncio.gather(*(a.request("work") for a in clients))
        assert replies == ["done"] * 70 and len(set(joined)) == 70


async def test_def_on_disconnect_runs_though_handlers_hold_all_threads() -> None:
    """Exactly once for each socket."""
    app = WSRoom(limits=Limits(handler_timeout=0.2), _timing=Timing(grace=0.1))
    gate = threading.Event()
    ended: list[str] = []

    @app.on("stuck")
    def stuck(emitter: BlockingEmitter) -> None:
        gate.wait(60 * SECOND)

    @app.on_disconnect()
    def on_disconnect(socket: BlockingSocket, code: int) -> None:
        ended.append(socket.id)

    async with TestClient(app, timeout=10 * SECOND) as client:
        clients = [await client.connect() for _ in range(40)]
        for a in clients:
            await a.emit("stuck", id=1)
        for a in clients:
            assert (await a.expect("error"))["code"] == "timeout"
            await a.close()
        assert sorted(ended) == sorted(a.id for a in clients)
        gate.set()


async def test_an_on_error_that_hangs_times_out_too() -> None:
    """The time limit is for the frame, including on_error; the connection stays."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))

    @app.on("fail")
    async def fail(emitter: Emitter) -> None:
        raise KeyError

    @app.on_error()
    async def on_error(emitter: Emitter, exc: BaseException) -> None:
        await asyncio.sleep(HOUR)

    @app.on("next")
    async def following(emitter: Emitter) -> str:
        return "next"

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        with pytest.raises(Refused, match=r"timeout|internal"):
            await a.request("fail")
        assert await a.request("next") == "next"


async def test_an_id_is_answered_once() -> None:
    """A hook that runs late after the reply is answered without the id."""
    app = WSRoom(limits=Limits(handler_timeout=0.05))

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await asyncio.sleep(HOUR)

    async with TestClient(app, timeout=10 * SECOND) as client:
        a = await client.connect()
        await a.emit("joinRoom", "chat", id=7)
        assert (await a.receive())["id"] == 7
        error = await a.receive()
        assert error["message"]["code"] == "timeout" and "id" not in error
