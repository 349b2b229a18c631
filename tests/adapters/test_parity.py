"""Memory, Redis and a model take the same random steps, and members see the same messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.brokers import Broker
from tests.support.clock import SECOND
from wsroom import Adapter, Emitter, MemoryAdapter, RedisAdapter, WSRoom
from wsroom.testing import TestClient, TestConnection

WORKERS = range(3)
ROOMS = ("a", "b", "c")
PATH = ""

some_rooms = st.lists(st.sampled_from(ROOMS), max_size=3, unique=True).map(tuple)
workers = st.sampled_from(WORKERS)
indexes = st.integers(0, 9)


def make_app(adapter: Adapter) -> WSRoom:
    app = WSRoom(adapter)

    @app.on("say")
    async def say(emitter: Emitter, message: Any) -> None:
        text, to, except_, skip_sender, volatile = message
        target = emitter.to(*to).except_(*except_)
        emit = target.emit_except_sender if skip_sender else target.emit
        await emit("said", text, volatile=volatile)

    return app


class System:
    """Three workers on one kind of adapter, and the test's sockets on them."""

    def __init__(self, adapters: list[Adapter]) -> None:
        self.apps = [make_app(one) for one in adapters]
        self.clients = [TestClient(app, timeout=10 * SECOND) for app in self.apps]
        self.sockets: list[TestConnection] = []
        self.traces: list[list[tuple[str, Any]]] = []
        """What each socket saw before its last reconnect: (room, text)."""
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        for client in self.clients:
            await self._stack.enter_async_context(client)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def connect(self, worker: int) -> None:
        self.sockets.append(await self.clients[worker].connect("/ws"))
        self.traces.append([])

    async def cut(self, index: int) -> None:
        await self.sockets[index].close()

    async def leave(self, worker: int, chosen: tuple[str, ...], room: str) -> None:
        await self.apps[worker].to(*chosen).leave(room)

    async def disconnect(self, worker: int, chosen: tuple[str, ...], indexes: list[int]) -> None:
        await self.apps[worker].to(*chosen).disconnect(4403)
        for index in indexes:
            assert await self.sockets[index].closed() == 4403
            await self.sockets[index].close()

    async def reconnect(self, index: int, worker: int) -> None:
        old = self.sockets[index]
        self.traces[index] += messages(old)
        new = await self.clients[worker].connect("/ws", subprotocols=["wsroom.1.resume"])
        answer = await new.resume(old)
        assert all(room["recovered"] for room in answer.values()), answer
        self.sockets[index] = new

    async def settle(self, indexes: list[int], number: int) -> None:
        """Wait until the workers of these sockets have delivered all that was emitted before."""
        for index in indexes:
            socket = self.sockets[index]
            await self.apps[0].to(socket.id).emit("mark", number)  # changes no offset
            while await socket.expect("mark") != number:
                pass

    def trace(self, index: int) -> dict[str, list[Any]]:
        """What the socket saw, room by room."""
        socket = self.sockets[index]
        seen: dict[str, list[Any]] = {}
        for room, text in (*self.traces[index], *messages(socket)):
            seen.setdefault(room, []).append(text)
        return seen


def messages(socket: TestConnection) -> list[tuple[str, Any]]:
    return [(f["room"] or PATH, f["message"]) for f in socket.frames if f["event"] == "said"]


class Message(NamedTuple):
    """A message in the model."""

    text: int
    to: tuple[str, ...]
    except_: tuple[str, ...]
    except_member: Member | None
    """Its sender, if `emit_except_sender` sent it."""


class Member:
    """A socket in the model."""

    def __init__(self, log: dict[str, list[Message]]) -> None:
        self.log = log
        self.at = {PATH: len(log[PATH])}
        """The rooms it is in, with the number of messages there that it has got or missed."""
        self.connected = True
        self.seen: dict[str, list[Any]] = {}

    def join(self, room: str) -> None:
        self.at[room] = len(self.log[room])

    def take(self, room: str, message: Message) -> bool:
        """Take a message, if it is for this member; its rooms at delivery decide."""
        to = message.to if room == PATH else (room,)
        taken = not to or not self.at.keys().isdisjoint(to)
        taken = taken and self.at.keys().isdisjoint(message.except_)
        taken = taken and message.except_member is not self
        if taken:
            self.seen.setdefault(room, []).append(message.text)
        return taken

    def reconnect(self) -> None:
        self.connected = True
        for room, since in self.at.items():
            for message in self.log[room][since:]:
                self.take(room, message)
            self.at[room] = len(self.log[room])


class Parity(RuleBasedStateMachine):
    """Steps that all three take; at the end of each run their traces are equal."""

    runner: asyncio.Runner
    url: str
    prefixes: Iterator[str]

    @initialize()
    def start(self) -> None:
        memory = MemoryAdapter()
        prefix = next(self.prefixes)
        shared: list[Adapter] = [RedisAdapter(self.url, prefix=prefix) for _ in WORKERS]
        self.systems = [System([memory for _ in WORKERS]), System(shared)]
        self.members: list[Member] = []
        self.log: dict[str, list[Message]] = {room: [] for room in (PATH, *ROOMS)}
        self.count = 0
        self.each(lambda system: system.start())

    def each(self, step: Any) -> list[Any]:
        async def steps() -> list[Any]:
            return [await step(system) for system in self.systems]

        return self.runner.run(steps())

    def pick(self, index: int, connected: bool = True) -> int | None:
        found = [i for i, member in enumerate(self.members) if member.connected is connected]
        return found[index % len(found)] if found else None

    @precondition(lambda self: len(self.members) < 6)
    @rule(worker=workers)
    def connect(self, worker: int) -> None:
        self.members.append(Member(self.log))
        self.each(lambda system: system.connect(worker))

    @rule(index=indexes, room=st.sampled_from(ROOMS))
    def join(self, index: int, room: str) -> None:
        if (at := self.pick(index)) is not None:
            self.members[at].join(room)
            self.each(lambda system: system.sockets[at].join(room))

    @rule(index=indexes, room=st.sampled_from(ROOMS))
    def leave(self, index: int, room: str) -> None:
        if (at := self.pick(index)) is not None:
            self.members[at].at.pop(room, None)
            self.each(lambda system: system.sockets[at].leave(room))

    @rule(
        index=indexes,
        to=some_rooms,
        except_=some_rooms,
        skip_sender=st.booleans(),
        volatile=st.booleans(),
    )
    def emit(
        self,
        index: int,
        to: tuple[str, ...],
        except_: tuple[str, ...],
        skip_sender: bool,
        volatile: bool,
    ) -> None:
        if (at := self.pick(index)) is not None:
            self.say(at, to, except_, skip_sender, volatile)

    def say(
        self,
        at: int,
        to: tuple[str, ...],
        except_: tuple[str, ...] = (),
        skip_sender: bool = False,
        volatile: bool = False,
    ) -> None:
        self.count += 1
        arguments = [self.count, to, except_, skip_sender, volatile]
        self.each(lambda system: system.sockets[at].request("say", arguments))
        room = to[0] if len(to) == 1 else PATH
        except_member = self.members[at] if skip_sender else None
        message = Message(self.count, to, except_, except_member)
        if not volatile:
            self.log[room].append(message)
        for member in self.members:
            if member.connected and room in member.at and member.take(room, message):
                member.at[room] = member.at[room] if volatile else len(self.log[room])
        # The rooms of a socket at delivery decide, also those of a socket that gets no copy. So
        # all workers must have delivered the message before the next step changes a room.
        self.settle()

    def settle(self) -> None:
        connected = [index for index, member in enumerate(self.members) if member.connected]
        self.each(lambda system: system.settle(connected, self.count))

    def chosen(self, rooms: tuple[str, ...]) -> list[int]:
        """The connected members of these rooms; without rooms, all of them."""
        return [
            index
            for index, member in enumerate(self.members)
            if member.connected and (not rooms or not member.at.keys().isdisjoint(rooms))
        ]

    @rule(worker=workers, to=some_rooms, room=st.sampled_from(ROOMS))
    def moderate(self, worker: int, to: tuple[str, ...], room: str) -> None:
        for index in self.chosen(to):
            self.members[index].at.pop(room, None)
        self.count += 1
        self.each(lambda system: system.leave(worker, to, room))
        self.settle()

    @rule(worker=workers, to=some_rooms)
    def disconnect(self, worker: int, to: tuple[str, ...]) -> None:
        indexes = self.chosen(to)
        for index in indexes:
            self.members[index].connected = False
        self.each(lambda system: system.disconnect(worker, to, indexes))

    @rule(index=indexes)
    def cut(self, index: int) -> None:
        if (at := self.pick(index)) is not None:
            self.members[at].connected = False
            self.each(lambda system: system.cut(at))

    @rule(index=indexes, worker=workers)
    def reconnect(self, index: int, worker: int) -> None:
        if (at := self.pick(index, connected=False)) is not None:
            self.reconnect_at(at, worker)

    def reconnect_at(self, at: int, worker: int) -> None:
        self.members[at].reconnect()
        self.each(lambda system: system.reconnect(at, worker))

    @invariant()
    def no_empty_room_is_kept(self) -> None:
        """A worker knows a room only while it has a member there."""
        for system in getattr(self, "systems", ()):
            rooms = [len(app._worker.hub.rooms) for app in system.apps]
            assert sum(rooms) <= sum(len(one.at) for one in self.members if one.connected)

    def teardown(self) -> None:
        if not hasattr(self, "systems"):
            return
        try:
            self.compare()
        finally:
            self.each(lambda system: system.stop())

    def compare(self) -> None:
        for at, member in enumerate(self.members):
            if not member.connected:
                self.reconnect_at(at, at % len(WORKERS))
        if not self.members:
            return
        self.each(lambda system: system.sockets[0].join(*ROOMS))
        for room in ROOMS:
            self.members[0].join(room)
        for room in (PATH, *ROOMS):
            self.say(0, (room,) if room else ())
        for index, member in enumerate(self.members):
            for system in self.systems:
                assert system.trace(index) == member.seen


@pytest.mark.timeout(240)
def test_memory_redis_and_a_model_see_the_same(valkey: Broker, prefix: str) -> None:
    """Each socket sees the same messages in each room after all steps."""
    with asyncio.Runner() as runner:
        Parity.runner = runner
        Parity.url = valkey.url
        Parity.prefixes = (f"{prefix}.{number}" for number in range(10_000))
        run_state_machine_as_test(
            Parity,
            settings=settings(
                max_examples=100,
                stateful_step_count=40,
                deadline=None,
                phases=[Phase.generate],  # making a failure smaller would take minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
