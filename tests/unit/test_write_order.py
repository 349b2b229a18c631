"""Any sequence of emits, replies, joins, leaves and closes, against a plain model. Each socket
hears what was said to it, once, in the order of the calls, whichever writer it has.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import until
from tests.support.fakes import Owner
from tests.support.frames import parse
from wsroom import Limits, MemoryAdapter
from wsroom.adapters import Emission
from wsroom.asgi.types import Message
from wsroom.delivery.frames import PreparedFrame
from wsroom.delivery.hub import Hub
from wsroom.delivery.send_writer import SendWriter
from wsroom.direct.transport_writer import TransportWriter
from wsroom.wire.emission import Room

SOCKETS = ("ws:1.a", "ws:1.b", "ws:1.c")
socket = st.sampled_from(SOCKETS)
room = st.sampled_from(["x", "y"])
STEPS = st.one_of(
    st.tuples(st.just("emit"), room, st.one_of(st.just(""), socket)),
    st.tuples(st.just("union"), st.just("x"), st.just("")),
    st.tuples(st.just("direct"), st.just(""), socket),
    st.tuples(st.just("join"), room, socket),
    st.tuples(st.just("leave"), room, socket),
    st.tuples(st.just("close"), st.just(""), socket),
    st.tuples(st.just("tick"), st.just(""), st.just("")),
)


class Peer:
    """A server's protocol object and its transport, which record all that is written."""

    handshake_complete = True
    close_sent = False

    def __init__(self, packs: bool) -> None:
        self.transport = self
        self.data = b""
        self.texts: list[str] = []
        self.closed: int | None = None
        self.conn = self
        self.extensions = [self] if packs else []
        self.name = "permessage-deflate"
        self.local_max_window_bits = 12

    def write(self, data: bytes) -> None:
        assert self.closed is None
        self.data += data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        raise AssertionError("nothing is unsent")

    async def send(self, message: Message) -> None:
        assert self.closed is None
        if message["type"] == "websocket.close":
            self.closed = message["code"]
        else:
            self.texts.append(message["text"])

    def heard(self) -> list[str]:
        data = self.data
        while data:
            length = 2 + data[1]
            self.texts.append(bytes(parse(data[:length]).data).decode())
            data = data[length:]
        return [json.loads(text)["message"] for text in self.texts]


def encoded(text: str) -> bytes:
    return json.dumps({"message": text}).encode()


@pytest.mark.parametrize("kind", ["transport", "transport, packed", "send"])
@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=60))
def test_each_socket_hears_all_in_order(kind: str, steps: list[tuple[str, str, str]]) -> None:
    """Within a tick and across ticks, in any mixture; and nothing after the close."""
    asyncio.run(play(kind, steps))


async def play(kind: str, steps: list[tuple[str, str, str]]) -> None:
    hub = Hub(MemoryAdapter(), Limits())
    await hub.start()
    peers = {id: Peer(kind.endswith("packed")) for id in SOCKETS}
    writers: dict[str, Any] = {}
    expected: dict[str, list[str]] = {id: ["connected"] for id in SOCKETS}
    joined: dict[str, set[str]] = {"x": set(), "y": set()}
    ended: set[str] = set()
    for id, peer in peers.items():
        if kind == "send":
            writers[id] = SendWriter(id, "/ws", peer.send, hub.outbox, Owner())
        else:
            server: Any = peer
            writers[id] = TransportWriter(id, "/ws", server, peer.send, hub.outbox, Owner())
        hub.add(writers[id])
        writers[id].open(PreparedFrame(encoded("connected")))

    for number, (step, name, id) in enumerate(steps):
        text = str(number)
        if step in ("emit", "union"):
            rooms = ("x", "y") if step == "union" else ()
            key = Room("/ws", "" if rooms else name)
            await hub.publish(Emission(key, encoded(text), rooms, except_socket=id))
            audience = joined["x"] | joined["y"] if rooms else joined[name]
            for member in audience - {id}:
                expected[member].append(text)
        elif step == "direct":
            writers[id].write(PreparedFrame(encoded(text)))
            if id not in ended:
                expected[id].append(text)
        elif step == "join":
            await hub.join(writers[id], name)
            joined[name] |= {id} - ended
        elif step == "leave":
            hub.leave(writers[id], name)
            joined[name].discard(id)
        elif step == "close" and id not in ended:
            ended.add(id)
            hub.remove(writers[id])
            writers[id].close(4000, "")
            for members in joined.values():
                members.discard(id)
        elif step == "tick":
            await asyncio.sleep(0)
    for id in SOCKETS:
        writers[id].close(4000, "")
    await until(lambda: all(peer.closed == 4000 for peer in peers.values()))
    for id, peer in peers.items():
        assert peer.heard() == expected[id]
        await writers[id].stop()
    hub.outbox.stop()
    await hub.stop()
