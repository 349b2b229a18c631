"""Presence: who is in a room, for its members and for the app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.presence import known_members
from wsroom import (
    AdapterError,
    BlockingEmitter,
    Emitter,
    Limits,
    MemoryAdapter,
    Reject,
    Router,
    SetupError,
    Socket,
    WSRoom,
)
from wsroom.adapters import Adapter, Deliver, Emission, Offset
from wsroom.testing import Refused, TestClient, TestConnection
from wsroom.timing import Timing
from wsroom.wire.emission import Room
from wsroom.wire.presence import Enter, PresenceAnswer

RESUME = ("wsroom.1.resume", "wsroom.1")


class People:
    """Connections that are named by their query, and what their clients know of the members."""

    def __init__(self, *clients: TestClient) -> None:
        self.clients = clients

    async def connect(self, name: str, worker: int = 0, **options: Any) -> TestConnection:
        return await self.clients[worker].connect(query={"name": name}, **options)


def make_app(adapter: Adapter | None = None, **options: Any) -> WSRoom:
    app = WSRoom(adapter, **options)

    @app.on_connect()
    async def connect(socket: Socket[str]) -> str:
        if room := socket.query.get("room"):
            await socket.join(room)
        return socket.query.get("name", "")

    @app.presence("board:{id}", grace=5.0)
    async def card(socket: Socket[str], room: str) -> dict[str, Any] | None:
        return {"id": socket.user, "room": room} if socket.user != "ghost" else None

    @app.on("move")
    async def move(emitter: Emitter[str], message: list[str]) -> None:
        await getattr(emitter.socket, message[0])(*message[1:])

    @app.on("type")
    async def typing(emitter: Emitter[str], message: Any) -> None:
        await emitter.socket.update_presence("board:1", message)

    return app


def ids(answer: dict[str, Any]) -> list[Any]:
    return [card["id"] for card in answer["members"]]


def known(connection: TestConnection, room: str = "board:1") -> dict[Any, Any]:
    """The members of a room as the client of a connection knows them."""
    return known_members(connection.frames, room)


async def test_a_join_is_answered_with_the_members() -> None:
    """The reply has the cards of all, this socket's too; other rooms have no such keys."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        assert (await ann.join("board:1"))["members"] == [{"id": "ann", "room": "board:1"}]
        answer = await bob.join("board:1")
        assert ids(answer) == ["ann", "bob"] and answer["count"] == 2
        assert ids(await bob.join("board:1")) == ["ann", "bob"], "again"
        assert (await bob.join("chat")).keys() == {"room", "offset"}
        assert (await bob.join("board:2"))["members"] == [{"id": "bob", "room": "board:2"}]


async def test_members_see_who_comes_changes_and_goes() -> None:
    """The event `presence` has the final state of each member that has changed."""
    app = make_app()
    async with TestClient(app) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1")
        await bob.join("board:1")
        frame = await ann.expect("presence")
        card = {"id": "bob", "room": "board:1"}
        assert frame == {"room": "board:1", "count": 2, "joined": [card], "left": [], "changed": []}
        await client.settle()
        await bob.emit("type", {"typing": True, "room": None})
        await client.settle()
        assert (await ann.expect("presence"))["changed"] == [{"id": "bob", "typing": True}]
        await bob.leave("board:1")
        await client.settle()
        frame = await ann.expect("presence")
        assert frame["left"] == ["bob"] and frame["count"] == 1
        assert known(ann).keys() == {"ann"}
        assert all("offset" not in f for f in ann.frames if f["event"] == "presence")


async def test_presence_has_no_place_in_the_history() -> None:
    """A hundred changes evict no message, and move no offset."""
    async with TestClient(make_app()) as client:
        ann, bob = await client.connect(query={"name": "ann"}), await client.connect()
        before = await ann.join("board:1")
        for _ in range(100):
            await bob.join("board:1")
            await bob.leave("board:1")
        assert (await bob.join("board:1"))["offset"] == before["offset"]


async def test_changes_are_collected() -> None:
    """The first is sent at once; those after it together, and what came and went is `left`."""
    app = make_app(_timing=Timing(presence_interval=3600))
    async with TestClient(app) as client:
        people = People(client)
        ann = await people.connect("ann")
        await ann.join("board:1")
        bob = await people.connect("bob")
        await bob.join("board:1")
        assert (await ann.expect("presence"))["joined"][0]["id"] == "bob"
        for name in ("cay", "dan"):
            await (await people.connect(name)).join("board:1")
        cay = client.connections[2]
        await cay.leave("board:1")
        await bob.request("type", {"x": 1})
        await client.settle()
        frame = await ann.expect("presence")
        assert [card["id"] for card in frame["joined"]] == ["dan"]
        assert frame["left"] == ["cay"] and frame["count"] == 3
        assert frame["changed"] == [{"id": "bob", "room": "board:1", "x": 1}]


async def test_at_most_ten_frames_a_second() -> None:
    """However many change."""
    app = make_app()
    async with TestClient(app, timeout=10) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1")
        await bob.join("board:1")
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(300):
            await bob.request("type", {"x": number})
        while known(ann)["bob"].get("x") != 299:
            await ann.receive()
        frames = [frame for frame in ann.frames if frame["event"] == "presence"]
        assert len(frames) <= 3 + (loop.time() - start) * 10


async def test_several_sockets_are_one_member() -> None:
    """It leaves with its last socket; the others get no news of the rest."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ann = await people.connect("ann")
        await ann.join("board:1")
        tabs = [await people.connect("bob") for _ in range(2)]
        for tab in tabs:
            await tab.join("board:1")
        await client.settle()
        await tabs[0].close()
        await client.settle()
        assert known(ann).keys() == {"ann", "bob"} and known(ann)["bob"]
        await tabs[1].close()
        await client.settle()
        assert known(ann).keys() == {"ann"}


async def test_a_socket_that_is_not_shown_sees_the_others() -> None:
    """The function returned None: it is in the room, and nobody sees it."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ghost, ann = await people.connect("ghost"), await people.connect("ann")
        assert (await ghost.join("board:1"))["members"] == []
        assert ids(await ann.join("board:1")) == ["ann"]
        await client.settle()
        assert known(ghost).keys() == {"ann"}
        await ghost.emit("type", {"x": 1})
        await ghost.leave("board:1")
        await client.settle()
        assert known(ann) == {"ann": {"id": "ann", "room": "board:1"}}


@pytest.mark.parametrize("code", [1000, 3000, 4999])
async def test_who_closes_leaves_at_once(code: int) -> None:
    """With 1000 and 3000 to 4999 the client means to go."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1")
        await bob.join("board:1")
        await bob.close(code)
        await client.settle()
        assert known(ann).keys() == {"ann"}


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1012])
async def test_a_lost_connection_has_a_grace(code: int) -> None:
    """Its member leaves when the grace is over, and stays if it is back before: that is no news."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ann, bob, cay = [await people.connect(name) for name in ("ann", "bob", "cay")]
        for each in (ann, bob, cay):
            await each.join("board:1")
        await client.settle()
        seen = len(ann.frames)
        await bob.close(code)
        await cay.cut()
        await client.settle()
        back = await people.connect("cay")
        assert ids(await back.join("board:1")) == ["ann", "bob", "cay"]
        await client.advance(3)
        assert len(ann.frames) == seen
        await client.advance(3)
        assert known(ann).keys() == known(back).keys() == {"ann", "cay"}


async def test_the_app_closes_and_moves_sockets() -> None:
    """Its `close` and `leave` count at once; its `join` is answered with `joinedRoom`."""
    app = make_app()
    async with TestClient(app) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1")
        await bob.emit("move", ["join", "board:1"])
        joined = await bob.expect("joinedRoom")
        assert ids(joined) == ["ann", "bob"] and joined["offset"]
        await bob.emit("move", ["leave", "board:1"])
        await client.settle()
        assert known(ann).keys() == {"ann"}
        await bob.join("board:1")
        await bob.emit("move", ["close"])
        assert await bob.closed() == 1000
        await client.settle()
        assert known(ann).keys() == {"ann"}
        assert await app.to("board:1").count() == 1


async def test_rooms_of_on_connect_have_members_after_connected() -> None:
    """Their cards are made when `socket.user` is known."""
    async with TestClient(make_app()) as client:
        ann = await client.connect(query={"name": "ann", "room": "board:1"})
        assert ids(await ann.expect("joinedRoom")) == ["ann"]
        assert [frame["event"] for frame in ann.frames] == ["connected", "joinedRoom"]
        bob = await client.connect(query={"name": "bob", "room": "board:1"})
        assert ids(await bob.expect("joinedRoom")) == ["ann", "bob"]
        await bob.close()
        await client.settle()
        assert known(ann).keys() == {"ann"}


async def test_a_resume_is_answered_with_the_members() -> None:
    """They are as they are at the reply."""
    async with TestClient(make_app()) as client:
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1")
        await bob.join("board:1", "chat")
        await bob.cut()
        await (await people.connect("cay")).join("board:1")
        back = await people.connect("bob", subprotocols=RESUME)
        rooms = await back.resume(bob)
        assert ids(rooms["board:1"]) == ["ann", "bob", "cay"] and rooms["board:1"]["count"] == 3
        assert "members" not in rooms["chat"] and "members" not in rooms[""]
        await client.advance(10)
        assert known(ann).keys() == {"ann", "bob", "cay"}


async def test_the_app_asks_for_members() -> None:
    """From anywhere; members of several rooms once."""
    app = make_app()
    found: list[Any] = []

    @app.on("who")
    def who(emitter: BlockingEmitter[str]) -> None:
        emitter.socket.update_presence("board:1", {"asked": True})
        found.append((emitter.to("board:1").members(), emitter.to("board:2").count()))

    async with TestClient(app) as client:
        assert await app.to("board:1").members() == []
        people = People(client)
        ann, bob = await people.connect("ann"), await people.connect("bob")
        await ann.join("board:1", "board:2")
        await bob.join("board:2")
        assert [card["id"] for card in await app.to("board:1", "board:2").members()] == [
            "ann",
            "bob",
        ]
        await ann.request("who")
        assert found == [([{"id": "ann", "room": "board:1", "asked": True}], 2)]
        for target in (app.to(), app.to(ann.id), app.to("board:1", ann.id)):
            with pytest.raises(ValueError, match="members are in rooms"):
                await target.count()


@pytest.mark.parametrize(
    "made",
    [
        {"name": "ann"},
        {"id": None},
        {"id": True},
        {"id": 1.5},
        {"id": [1]},
        ["ann"],
        "ann",
        {"id": "x" * 1100},
        {"id": 1, "x": object()},
        RuntimeError("boom"),
    ],
    ids=["no id", "null", "bool", "float", "list", "array", "text", "large", "no JSON", "raises"],
)
async def test_an_invalid_card(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The socket does not join, the answer is `internal`, and the log has the reason."""
    app = WSRoom()

    @app.presence()
    async def card(socket: Socket, room: str) -> Any:
        if room == "good":
            return {"id": 1}
        if isinstance(made, Exception):
            raise made
        return made

    @app.on("join")
    async def join(emitter: Emitter, room: str) -> str:
        try:
            await emitter.socket.join(room)
        except ValueError as exc:
            return str(exc)
        return ""

    async with TestClient(app) as client:
        one = await client.connect()
        await one.join("good")
        with pytest.raises(Refused) as refused:
            await one.join("bad")
        assert refused.value.code == "internal"
        assert "the card for room 'bad' on /ws could not be made" in caplog.text
        assert await one.request("join", "bad") == "the server failed; the reason is in its log"
        assert await app.to("bad").count() == 0
        await app.to("bad").emit("hidden")
        await app.to("good").emit("marker")
        await one.expect("marker")
        assert "hidden" not in [frame["event"] for frame in one.frames]


async def test_a_card_may_refuse() -> None:
    """A Reject is answered with its code, as a guard's."""
    app = WSRoom()

    @app.presence("board:{id}")
    async def card(socket: Socket, room: str, id: int) -> dict[str, Any]:
        if id == 2:
            raise Reject("not two", code="two")
        return {"id": id}

    async with TestClient(app) as client:
        one = await client.connect()
        assert (await one.join("board:1"))["members"] == [{"id": 1}]
        for room, code in (("board:2", "two"), ("board:x", "bad_room")):
            with pytest.raises(Refused) as refused:
                await one.join(room)
            assert refused.value.code == code


async def test_an_update_is_checked() -> None:
    """`id` is fixed, and the card stays within 1 KiB."""
    async with TestClient(make_app()) as client:
        one = await client.connect(query={"name": "ann"})
        await one.join("board:1")
        for values in ({"id": "bob"}, {"x": "y" * 1100}, {"x": ["y" * 600], "z": "y" * 600}):
            with pytest.raises(Refused):
                await one.request("type", values)
        await one.request("type", {"x": "y" * 600})
        with pytest.raises(Refused):
            await one.request("type", {"z": "y" * 600})
        assert len((await client.app.to("board:1").members())[0]["x"]) == 600  # type: ignore[attr-defined]
        await one.leave("board:1")
        await one.request("type", {"x": 1})


async def test_a_leave_counts_while_a_card_is_made() -> None:
    """The join then fails with `left`, and nobody is shown."""
    app = WSRoom()
    making, go_on = asyncio.Event(), asyncio.Event()

    @app.presence()
    async def card(socket: Socket, room: str) -> dict[str, Any]:
        making.set()
        await go_on.wait()
        return {"id": 1}

    sockets: list[Socket] = []

    @app.on_open()
    async def opened(emitter: Emitter) -> None:
        sockets.append(emitter.socket)

    async with TestClient(app) as client:
        one = await client.connect()
        await one.emit("joinRoom", "board", id="a")
        await asyncio.wait_for(making.wait(), 1)
        await sockets[0].leave("board")
        go_on.set()
        error = await one.expect("error")
        assert error["code"] == "left"
        assert await app.to("board").count() == 0 and sockets[0].rooms == frozenset()


async def test_large_rooms_have_a_count_only() -> None:
    """Over `Limits.members`, in replies and in frames."""
    async with TestClient(make_app(limits=Limits(members=2))) as client:
        people = People(client)
        ann = await people.connect("ann")
        await ann.join("board:1")
        assert ids(await (await people.connect("bob")).join("board:1")) == ["ann", "bob"]
        answer = await (await people.connect("cay")).join("board:1")
        assert answer["count"] == 3 and "members" not in answer
        await client.settle()
        frames = [frame["message"] for frame in ann.frames if frame["event"] == "presence"]
        assert frames[-1] == {"room": "board:1", "count": 3}
        assert len(await client.app.to("board:1").members()) == 3  # type: ignore[attr-defined]


async def test_many_members_come_in_pages() -> None:
    """A reply with 256 KiB of cards has `more`; the client asks for the rest."""
    adapter = MemoryAdapter()
    app = WSRoom(adapter)
    steps = [Enter(f"ws:other.{n}", str(n), {"id": n, "text": "x" * 900}) for n in range(599)]
    await adapter.change_presence(Room("/ws", "board"), "ws:other", 1, steps, whole=False)

    @app.presence()
    async def card(socket: Socket, room: str) -> dict[str, Any]:
        return {"id": 599}

    async with TestClient(app) as client:
        last = await client.connect()
        answer = await last.join("board")
        found = answer["members"]
        assert answer["more"] and len(found) < 300
        pages = 1
        while answer.get("more"):
            message = {"room": "board", "after": found[-1]["id"]}
            answer = await last.request("members", message)
            assert answer["count"] == 600
            found += answer["members"]
            pages += 1
        assert pages == 3 and sorted(card["id"] for card in found) == list(range(600))


async def test_members_are_for_those_in_the_room() -> None:
    """`members` of another room is refused."""
    async with TestClient(make_app()) as client:
        one = await client.connect(query={"name": "ann"})
        with pytest.raises(Refused) as refused:
            await one.request("members", {"room": "board:1"})
        assert refused.value.code == "forbidden"
        await one.join("board:1")
        assert (await one.request("members", "board:1"))["count"] == 1
        for message, code in (
            ({}, "bad_room"),
            ({"room": "board:1", "after": []}, "invalid_message"),
        ):
            with pytest.raises(Refused) as refused:
                await one.request("members", message)
            assert refused.value.code == code


async def test_the_names_are_reserved_on_paths_with_presence() -> None:
    """Only there: an app without presence may use them."""
    app = make_app()
    with pytest.raises(SetupError, match="part of the protocol on '/ws'"):
        app.on("presence")(lambda emitter: None)
    with pytest.raises(SetupError, match="part of the protocol"):
        app.emits("members")

    @app.on("members", path="/plain")
    async def members(emitter: Emitter) -> str:
        await emitter.emit_to_sender("presence", "mine")
        return "theirs"

    router = Router()
    router.add_handler("members", members)
    with pytest.raises(SetupError, match="part of the protocol"):
        router.presence()(lambda socket, room: None)
    async with TestClient(app) as client:
        plain = await client.connect("/plain")
        assert await plain.request("members") == "theirs"
        assert await plain.expect("presence") == "mine"
        for event in ("presence", "members"):
            with pytest.raises(ValueError, match="paths with presence"):
                await app.to("board:1").emit(event)
        one = await client.connect()
        with pytest.raises(Refused) as refused:
            await one.request("presence")
        assert refused.value.code == "unknown_event"


def test_registering_is_checked() -> None:
    """At the line of the decorator."""
    app = make_app()

    async def card(socket: Socket, room: str) -> None: ...

    with pytest.raises(SetupError, match="has presence already"):
        app.add_presence(card, "board:{number}")
    for grace in (-1, float("nan"), 1e9, "5"):
        with pytest.raises(SetupError, match="grace is"):
            app.add_presence(card, "x", grace=grace)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="parentheses"):
        app.presence(card)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"cannot make the cards of 'a:\{b\}'"):
        app.add_presence(lambda socket: None, "a:{b}")
    with pytest.raises(SetupError, match="name of an argument"):
        app.add_presence(card, "a:{room}")
    router = Router()
    router.add_presence(card, "chat")
    app.include(router)
    assert [r.name for r in app.registrations() if r.kind == "presence"] == ["chat", "board:{id}"]


class Plain(Adapter):
    """An adapter without presence."""

    def __init__(self) -> None:
        self._memory = MemoryAdapter()

    async def start(self, deliver: Deliver) -> None:
        await self._memory.start(deliver)

    async def stop(self, deliver: Deliver) -> None:
        await self._memory.stop(deliver)

    async def publish(self, emission: Emission) -> None:
        await self._memory.publish(emission)

    async def subscribe(self, room: Room) -> Offset | None:
        return await self._memory.subscribe(room)

    def unsubscribe(self, room: Room) -> None:
        self._memory.unsubscribe(room)


async def test_an_adapter_without_presence() -> None:
    """An app that uses presence does not start with it; others do, and have no members."""
    with pytest.raises(SetupError, match="this adapter has no presence"):
        async with TestClient(make_app(Plain())):
            pass
    app = WSRoom(Plain())
    app.on("x")(lambda emitter: None)
    async with TestClient(app) as client:
        await (await client.connect()).join("board:1")
        with pytest.raises(SetupError, match="this adapter has no presence"):
            await app.to("board:1").members()


async def test_two_workers_see_each_other() -> None:
    """They keep copies of one table."""
    adapter = MemoryAdapter()
    async with TestClient(make_app(adapter)) as one, TestClient(make_app(adapter)) as two:
        people = People(one, two)
        ann, bob = await people.connect("ann"), await people.connect("bob", 1)
        await ann.join("board:1")
        assert ids(await bob.join("board:1")) == ["ann", "bob"]
        await bob.request("type", {"x": 1})
        await one.settle()
        await two.settle()
        assert known(ann) == known(bob) and known(ann)["bob"]["x"] == 1
        await ann.close()
        await two.settle()
        assert known(bob).keys() == {"bob"}


class Failing(MemoryAdapter):
    """Loses calls, notices and tables when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.calls = 0

    async def change_presence(self, room: Room, *args: Any, **options: Any) -> PresenceAnswer:
        self.calls += 1
        if self.down:
            raise AdapterError("down")
        return await super().change_presence(room, *args, **options)

    def lose(self) -> None:
        self._tables.clear()


async def test_a_join_fails_with_the_adapter_and_leaves_heal() -> None:
    """The socket is then in no room, and whoever left meanwhile is removed later."""
    adapter = Failing()
    app = make_app(adapter, _timing=Timing(presence_retry=0.01))
    async with TestClient(app) as client:
        people = People(client)
        ann, bob, cay = [await people.connect(name) for name in ("ann", "bob", "cay")]
        await ann.join("board:1")
        await bob.join("board:1")
        await client.settle()
        adapter.down = True
        await bob.leave("board:1")
        with pytest.raises(Refused) as refused:
            await cay.join("board:1")
        assert refused.value.code == "unavailable"
        adapter.down = False
        await client.settle()
        assert known(ann).keys() == {"ann"}
        assert [card["id"] for card in await app.to("board:1").members()] == ["ann"]


async def test_a_lost_table_is_written_again() -> None:
    """Its members are shown for a while, and then who has not come back has left."""
    adapter = Failing()
    timing = Timing(presence_lost=0.05)
    async with (
        TestClient(make_app(adapter, _timing=timing)) as one,
        TestClient(make_app(adapter, _timing=timing)) as two,
    ):
        people = People(one, two)
        ann, bob, cay = [await people.connect(*each) for each in (("ann",), ("bob", 1), ("cay",))]
        for each in (ann, bob, cay):
            await each.join("board:1")
        await cay.cut()
        await one.settle()
        await two.settle()
        assert known(ann).keys() == known(bob).keys() == {"ann", "bob", "cay"}
        seen = len(ann.frames)
        adapter.lose()
        await bob.request("type", {"x": 1})
        await two.settle()
        await one.settle()
        assert known(ann).keys() == {"ann", "bob", "cay"}, "nobody has left yet"
        while "cay" in known(ann):
            await ann.receive()
        assert known(ann).keys() == {"ann", "bob"} and known(ann)["bob"]["x"] == 1
        left = [f["message"]["left"] for f in ann.frames[seen:] if f["event"] == "presence"]
        assert [names for names in left if names] == [["cay"]]


async def test_joins_of_a_tick_share_a_call() -> None:
    """A first join costs one call; a room without presence none."""
    adapter = Failing()
    async with TestClient(make_app(adapter)) as client:
        people = People(client)
        many = [await people.connect(str(number)) for number in range(20)]
        await many[0].join("chat")
        assert adapter.calls == 0
        await many[0].join("board:1")
        assert adapter.calls == 1
        await asyncio.gather(*(each.join("board:1") for each in many[1:]))
        assert adapter.calls <= 4
