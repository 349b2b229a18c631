"""The hub and its adapter: RESYNC, joins, starts and stops, and event loops that end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.clock import HOUR, SECOND, until
from tests.support.fakes import Owner
from wsroom import AdapterError, Emitter, Limits, MemoryAdapter, WSRoom
from wsroom.adapters import Deliver, Emission, Offset
from wsroom.asgi.types import Message
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.delivery.send_writer import SendWriter
from wsroom.testing import TestClient, TestConnection
from wsroom.timing import Timing
from wsroom.wire.emission import RESYNC, Room
from wsroom.wire.protocol import encode


def lost(app: WSRoom, room: Room, offset: Offset | None) -> None:
    """Deliver what an adapter delivers after it lost messages of the room."""
    app._worker.hub.deliver(Emission(room, b"", kind=RESYNC), offset)


def empty() -> WSRoom:
    app = WSRoom()

    @app.on("noti")
    async def noti(emitter: Emitter) -> None:
        await emitter.to("chat").emit("noti")

    @app.on("noti", path="/other")
    async def other(emitter: Emitter) -> None: ...

    return app


async def test_a_room_that_lost_messages_notifies_its_members() -> None:
    """They get the offset from which the room continues; other sockets get nothing."""
    app = empty()
    async with TestClient(app) as client:
        a, b = await client.connect(), await client.connect()
        await a.join("chat")
        lost(app, Room("/ws", "chat"), Offset("x", 7))
        await client.settle()
        message = {"room": "chat", "offset": "x:7"}
        frame = {"event": "resync", "message": message, "sender": None, "room": "chat"}
        assert a.frames[-1] == frame and a.offsets["chat"] == "x:7"
        assert len(b.frames) == 1


async def test_a_path_that_lost_messages_notifies_its_sockets() -> None:
    """`room` is null; sockets on other paths get nothing."""
    app = empty()
    async with TestClient(app) as client:
        a, other = await client.connect(), await client.connect("/other")
        lost(app, Room("/ws", ""), Offset("x", 7))
        await client.settle()
        message = {"room": None, "offset": "x:7"}
        assert a.frames[-1]["message"] == message and a.frames[-1]["room"] is None
        assert a.offsets[""] == "x:7" and len(other.frames) == 1


async def test_a_worker_that_lost_messages_notifies_all_its_sockets() -> None:
    """Any of them may have lost a message; there is no offset to continue from."""
    app = empty()
    async with TestClient(app) as client:
        connections = [await client.connect(), await client.connect("/other")]
        before = [dict(connection.offsets) for connection in connections]
        (own,) = {Room("", connection.id.partition(".")[0]) for connection in connections}
        lost(app, own, Offset("x", 7))
        await client.settle()
        for connection, offsets in zip(connections, before, strict=True):
            assert connection.frames[-1]["message"] == {"room": None, "offset": None}
            assert connection.offsets == offsets


async def test_a_held_resync_is_dropped_if_its_room_was_replayed_past_it() -> None:
    """Otherwise it is written after the reply."""
    app = empty()
    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        epoch = a.offsets["chat"].partition(":")[0]
        b = await client.connect(subprotocols=["wsroom.1.resume"])
        lost(app, Room("/ws", ""), Offset.parse(a.offsets[""]))
        lost(app, Room("/ws", ""), Offset(f"{epoch}x", 1))
        await b.resume(a)
        await client.settle()
        assert [frame["event"] for frame in b.frames] == ["connected", "reply", "resync"]
        assert b.frames[-1]["message"]["offset"] == f"{epoch}x:1"


async def test_emissions_of_later_releases_are_ignored() -> None:
    """An emission of an unknown kind is not delivered."""
    app = empty()
    async with TestClient(app) as client:
        a = await client.connect()
        emission = Emission(Room("/ws", ""), b'{"event":"x"}', kind="kick")
        app._worker.hub.deliver(emission, Offset("x", 1))
        await app.to().emit("marker")
        await a.expect("marker")
        assert len(a.frames) == 2


async def test_unexpected_names_and_offsets_do_no_harm() -> None:
    """Names and offsets come from other workers; emissions without recipients here are ignored."""
    app = empty()
    payload = encode("odd", None)
    async with TestClient(app) as client:
        a = await client.connect()
        for path in ("/ws", "", "/nowhere"):
            for name in ("", "chat", "ws:", "ws:1.2", "\ud800", "x" * 2**20, "a\nb"):
                room = Room(path, name)
                for emission in (
                    Emission(room, payload),
                    Emission(room, payload, ("", "ws:", name), a.id, "hash", ("ws:", name)),
                    Emission(room, b"", kind="", version=9),
                    Emission(room, b"", kind=RESYNC),
                ):
                    app._worker.hub.deliver(emission, None)
                    app._worker.hub.deliver(emission, Offset("", 0))
        await app.to().emit("marker")
        await a.expect("marker")


class Recording(MemoryAdapter):
    """Records its calls, and fails if the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[object] = []
        self.away = False

    async def start(self, deliver: object) -> None:
        self.log.append("start")

    async def stop(self, deliver: object) -> None:
        self.log.append("stop")

    async def subscribe(self, room: Room) -> Offset | None:
        self.log.append(room)
        if self.away:
            raise AdapterError("the broker does not answer")
        return None


async def test_a_hub_subscribes_to_messages_to_its_sockets_at_its_start() -> None:
    """It subscribes to the sequence of messages to its sockets before it has any."""
    adapter = Recording()
    hub = Hub(adapter, Limits())
    await hub.start()
    emission = Emission(Room("/any", hub.new_id()), b"")
    assert adapter.log == ["start", emission.sequence] and emission.sequence.path == ""
    await hub.stop()


async def test_a_start_that_fails_leaves_nothing_started() -> None:
    """The next start begins from scratch."""
    adapter = Recording()
    adapter.away = True
    hub = Hub(adapter, Limits())
    with pytest.raises(AdapterError):
        await hub.start()
    assert adapter.log[0] == "start" and adapter.log[-1] == "stop"
    adapter.away = False
    await hub.start()
    assert adapter.log.count("start") == 2
    await hub.stop()


async def test_a_join_under_way_is_not_lost_in_a_resume() -> None:
    """A concurrent handler joins while a `resume` of the same socket begins and ends."""

    class Slow(MemoryAdapter):
        gate = asyncio.Event()

        async def subscribe(self, room: Room) -> Offset | None:
            if room.name == "slow":
                await self.gate.wait()
            if room.name == "never":
                await self.gate.wait()
                raise AdapterError("the broker does not answer")
            return await super().subscribe(room)

    app = WSRoom(Slow(), _timing=Timing(hold=HOUR))

    @app.on("enter", concurrent=True)
    async def enter(emitter: Emitter, message: str) -> None:
        await emitter.socket.join(message)
        await emitter.to("slow").emit("entered")

    async with TestClient(app) as client:
        a = await client.connect()
        await a.emit("enter", "slow", id=1)
        await a.emit("enter", "never", id=2)
        await a.request("resume", {"rooms": {"chat": "x"}})
        Slow.gate.set()
        await a.expect("entered")
        assert (await a.expect("error"))["code"] == "unavailable"
        hub = app._worker.hub
        assert hub.room_names(hub.members[a.id]) == {"chat", "slow"}
        await a.close()
        await until(lambda: not hub.members)
        assert len(hub.rooms) == 0


class Asked(MemoryAdapter):
    """Confirms each subscription to "chat" when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[None]] = []

    async def subscribe(self, room: Room) -> Offset | None:
        if room.name == "chat":
            answer = asyncio.get_running_loop().create_future()
            self.waiting.append(answer)
            await answer
        return await super().subscribe(room)

    def confirm(self, number: int) -> None:
        self.waiting[number].set_result(None)

    def fail(self, number: int) -> None:
        self.waiting[number].set_exception(AdapterError("the broker does not answer"))


def comings_and_goings(adapter: Asked) -> WSRoom:
    app = WSRoom(adapter)

    @app.on("enter", concurrent=True)
    async def enter(emitter: Emitter) -> None:
        await emitter.socket.join("chat")

    @app.on("leave", concurrent=True)
    async def leave(emitter: Emitter) -> None:
        await emitter.socket.leave("chat")

    @app.on_joined()
    async def on_joined(emitter: Emitter, room: str) -> None:
        await emitter.emit_to_sender("joined")

    return app


async def enter(connection: TestConnection, adapter: Asked, id: int) -> None:
    """Begin a join, and wait until it waits for the adapter."""
    count = len(adapter.waiting)
    await connection.emit("enter", id=id)
    await until(lambda: len(adapter.waiting) > count)


async def test_a_join_that_fails_late_undoes_no_later_one() -> None:
    """The socket left and joined again meanwhile, and stays in the room."""
    adapter = Asked()
    app = comings_and_goings(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await enter(a, adapter, 1)
        await a.request("leave")
        await enter(a, adapter, 2)
        adapter.fail(0)
        assert (await a.expect("error"))["code"] == "unavailable"
        adapter.confirm(1)
        await a.expect("reply")
        await app.to("chat").emit("said")
        await a.expect("said")
        assert [frame["event"] for frame in a.frames].count("joined") == 1


@pytest.mark.parametrize("confirmed", [0, 1])
@pytest.mark.parametrize("earlier", ["fails", "is confirmed"])
async def test_one_of_two_joins_is_enough(confirmed: int, earlier: str) -> None:
    """Whichever is confirmed, the failure of the other does not take the socket out again."""
    adapter = Asked()
    app = comings_and_goings(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await enter(a, adapter, 1)
        await enter(a, adapter, 2)
        failing = 1 - confirmed
        for number in (failing, confirmed) if earlier == "fails" else (confirmed, failing):
            (adapter.confirm if number == confirmed else adapter.fail)(number)
            await a.expect("reply" if number == confirmed else "error")
        await app.to("chat").emit("said")
        await a.expect("said")
        assert [frame["event"] for frame in a.frames].count("joined") == 1


async def test_a_socket_is_not_in_a_room_if_all_its_joins_failed() -> None:
    """It does not matter how many waited; the socket can join later."""
    adapter = Asked()
    app = comings_and_goings(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await enter(a, adapter, 1)
        await enter(a, adapter, 2)
        hub = app._worker.hub
        for number in (1, 0):
            adapter.fail(number)
            await a.expect("error")
        assert hub.room_names(hub.members[a.id]) == set() and not hub._pending_joins
        await enter(a, adapter, 3)
        adapter.confirm(2)
        await a.expect("reply")
        assert hub.room_names(hub.members[a.id]) == {"chat"} and not hub._pending_joins


async def test_a_join_fails_if_the_room_was_left_meanwhile() -> None:
    """Its caller would believe that the socket is in the room."""
    adapter = Asked()
    app = comings_and_goings(adapter)
    async with TestClient(app) as client:
        a = await client.connect()
        await enter(a, adapter, 1)
        await a.request("leave")
        adapter.confirm(0)
        assert (await a.expect("error"))["code"] == "unavailable"
        # Nor if a later join has put it there, which may still fail.
        await enter(a, adapter, 2)
        await a.request("leave")
        await enter(a, adapter, 3)
        adapter.confirm(1)
        assert (await a.expect("error"))["code"] == "unavailable"
        adapter.fail(2)
        await a.expect("error")
        hub = app._worker.hub
        assert hub.room_names(hub.members[a.id]) == set() and not hub._pending_joins


class Starting(MemoryAdapter):
    """Starts when the test says so, on the event loop that it is used on."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[asyncio.Future[None]] = []

    async def start(self, deliver: Deliver) -> None:
        self.outcomes.append(asyncio.get_running_loop().create_future())
        await self.outcomes[-1]
        await super().start(deliver)


async def test_a_start_is_one_attempt_for_all_who_wait() -> None:
    """If it fails, it fails for all of them at once; the next one tries again."""
    adapter = Starting()
    hub = Hub(adapter, Limits())
    waiting = [asyncio.create_task(hub.start()) for _ in range(3)]
    emitting = asyncio.create_task(hub.publish(Emission(Room("/ws", "chat"), b"{}")))
    await until(lambda: adapter.outcomes)
    adapter.outcomes[-1].set_exception(AdapterError("the broker does not answer"))
    async with asyncio.timeout(SECOND):
        outcomes = await asyncio.gather(*waiting, emitting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AdapterError] * 4
    assert (len(adapter.outcomes), hub.running) == (1, False)
    waiting = [asyncio.create_task(hub.start()) for _ in range(3)]
    await until(lambda: len(adapter.outcomes) == 2)
    adapter.outcomes[-1].set_result(None)
    async with asyncio.timeout(SECOND):
        await asyncio.gather(*waiting)
    assert (len(adapter.outcomes), hub.running) == (2, True)
    await hub.stop()


async def test_a_cancelled_caller_does_not_end_the_start_for_the_others() -> None:
    """Neither does the first caller."""
    adapter = Starting()
    hub = Hub(adapter, Limits())
    first, second = (asyncio.create_task(hub.start()) for _ in range(2))
    await until(lambda: adapter.outcomes)
    first.cancel()
    await asyncio.wait([first], timeout=SECOND)
    assert first.cancelled() and not second.done()
    adapter.outcomes[-1].set_result(None)
    async with asyncio.timeout(SECOND):
        await second
    assert hub.running and len(adapter.outcomes) == 1
    await hub.stop()


async def test_a_stop_ends_a_start() -> None:
    """Its callers get an AdapterError, and nothing keeps running."""
    adapter = Starting()
    hub = Hub(adapter, Limits())
    starting = asyncio.create_task(hub.start())
    await until(lambda: adapter.outcomes)
    async with asyncio.timeout(SECOND):
        await hub.stop()
        with pytest.raises(AdapterError, match="stopped while it started"):
            await starting
    assert not hub.running and adapter.outcomes[0].cancelled()


async def test_a_lifespan_that_is_cancelled_while_it_starts_leaves_nothing() -> None:
    """A server can be stopped before it has started."""
    adapter = Starting()
    app = WSRoom(adapter)
    entering = asyncio.create_task(app.lifespan().__aenter__())
    await until(lambda: adapter.outcomes)
    entering.cancel()
    await asyncio.wait([entering], timeout=SECOND)
    assert entering.cancelled() and adapter.outcomes[0].cancelled()
    assert not app._worker.hub.running


class Bound(MemoryAdapter):
    """Is bound to the event loop that it was started on, like an adapter with connections."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self, deliver: Deliver) -> None:
        assert self.loop is None
        self.loop = asyncio.get_running_loop()
        await super().start(deliver)

    def abandon(self, deliver: Deliver) -> None:
        self.loop = None
        super().abandon(deliver)

    async def publish(self, emission: Emission) -> None:
        assert self.loop is asyncio.get_running_loop()
        await super().publish(emission)


def test_an_app_whose_loop_ended_starts_again_on_another() -> None:
    """A mounted app is not notified; the next connection or emit starts it again."""
    adapter = Bound()
    app = WSRoom(adapter)
    hub = app._worker.hub

    @app.on("say")
    async def say(emitter: Emitter, message: str) -> None:
        await emitter.emit("said", message)

    async def emit() -> None:
        await app.to().emit("said", "before anybody came")

    async def talk() -> None:
        scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}
        inbox: asyncio.Queue[Message] = asyncio.Queue()
        sent: list[Any] = []

        async def send(message: Message) -> None:
            sent.append(json.loads(message.get("text", "null")))

        inbox.put_nowait({"type": "websocket.connect"})
        task = asyncio.create_task(app(scope, inbox.get, send))
        inbox.put_nowait({"type": "websocket.receive", "text": '{"event":"say","message":"hi"}'})
        await until(lambda: len(sent) == 3)
        assert sent[2]["message"] == "hi" and len(hub.members) == 1
        tasks.append(task)

    tasks: list[asyncio.Task[None]] = []  # they are running when their loops end
    for work in (talk, emit, talk, talk):
        asyncio.run(work())
    assert hub.running and all(task.done() for task in tasks)
    asyncio.run(hub.stop())
    assert adapter.loop is None and not hub.running


def test_sockets_of_an_ended_loop_are_forgotten() -> None:
    """Sockets that were not ended, and frames for a tick that did not take place."""
    hub = Hub(Bound(), Limits())
    sent: list[object] = []

    async def send(message: Message) -> None:
        sent.append(message["text"])

    async def enter(id: str) -> SendWriter:
        await hub.start()
        member = SendWriter(id, "/ws", send, hub.outbox, Owner())
        hub.add(member)
        await hub.join(member, "chat")
        return member

    async def end_in_the_middle() -> None:
        await enter("ws:1.1")
        emission = Emission(Room("/ws", "chat"), b"{}")
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda task: hub.deliver(emission, None))

    async def go_on() -> None:
        member = await enter("ws:1.2")
        member.open(PreparedFrame(b"first"))
        await hub.publish(Emission(Room("/ws", "chat"), b'{"event":"second"}'))
        await until(lambda: len(sent) == 2)
        assert list(hub.members) == ["ws:1.2"]
        await hub.stop()
        await member.stop()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(end_in_the_middle())
    loop.close()
    asyncio.run(go_on())
    assert sent[0] == "first" and '"second"' in str(sent[1])
