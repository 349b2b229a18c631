"""The AsyncAPI document: valid for AsyncAPI's own parser, and true of the frames."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.support.asyncapi import parse
from tests.support.contracts import CONTRACTS, ODD_NAMES, PYDANTIC, board, messages, thousand
from wsroom import Emitter, Reject, Socket, WSRoom
from wsroom.schema.asyncapi import document
from wsroom.schema.contract import ClientEvent, Contract, PathContract, RoomContract, ServerEvent
from wsroom.schema.draft_7 import to_draft_7
from wsroom.testing import TestClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),  # with the installation of the packages
    pytest.mark.xdist_group("asyncapi"),
]

SAY = {
    "title": "Say",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "examples": [{"text": "hi"}],
}
SMALL = Contract(
    paths=(
        PathContract(
            path="/t/{tenant}",
            doc="A tenant's chat.",
            parameters={"tenant": {"type": "integer"}},
            query={"type": "object", "properties": {"token": {"type": "string"}}},
            security=("token",),
            client=(
                ClientEvent(
                    event="say",
                    doc="Say something.\n\nTo all.",
                    message=SAY,
                    reply={"type": "null"},
                    raises={"muted": "You may not speak here."},
                ),
            ),
            server=(ServerEvent(event="said", message=SAY),),
            rooms=(
                RoomContract(
                    pattern="board:{id}", doc="A board.", parameters={"id": {"type": "integer"}}
                ),
            ),
        ),
    ),
    document={"info": {"title": "Chat"}, "components": {"securitySchemes": {"token": {}}}},
)


def emitted(contract: Contract) -> Contract:
    """What the app emits only, if it emits the same as clients: the parser's work is quadratic."""
    paths = [
        replace(path, client=()) if len(path.client) == len(path.server) else path
        for path in contract.paths
    ]
    return replace(contract, paths=tuple(paths))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the parser says of each document, in one process."""
    documents = {name: document(emitted(each), builtins=False) for name, each in CONTRACTS.items()}
    documents["board"] = document(board())
    documents["thousand.large"] = document(thousand())
    return parse(documents, tmp_path_factory.mktemp("asyncapi"))


@pytest.mark.parametrize("name", [*CONTRACTS, "board", "thousand.large"])
def test_documents_are_valid(name: str, said: dict[str, Any]) -> None:
    """By the official JSON schema and by the official parser, without errors and warnings."""
    assert said[name]["schema"] == []
    assert said[name]["diagnostics"] == []
    assert said[name]["parsed"] or name == "thousand.large"


def test_the_parser_finds_all_operations(said: dict[str, Any]) -> None:
    """Those of the app, of the protocol, and the models."""
    assert said["board"]["operations"] == 4 + 3 + 3 + 4 + 1
    assert {"NewCard", "Move", "Changed", "FrameId"} <= set(said["board"]["schemas"])


def test_a_small_document() -> None:
    """An event, its reply and its errors, what is emitted, and the rooms."""
    described = document(SMALL, builtins=False)
    assert described["asyncapi"] == "3.1.0"
    assert described["info"] == {"title": "Chat", "version": "0.1.0"}
    channel = described["channels"]["t_tenant"]
    assert channel["address"] == "/t/{tenant}"
    assert channel["description"] == "A tenant's chat."
    assert channel["parameters"] == {"tenant": {"description": "Type: integer."}}
    assert channel["bindings"]["ws"]["query"]["properties"] == {"token": {"type": "string"}}
    assert channel["x-rooms"] == [
        {
            "pattern": "board:{id}",
            "description": "A board.",
            "parameters": {"id": {"type": "integer"}},
        }
    ]
    assert list(channel["messages"]) == [
        *("client.say", "reply.say", "error.say", "server.said", "error")
    ]
    say = channel["messages"]["client.say"]
    assert say["summary"] == "Say something." and say["description"] == "To all."
    assert say["payload"] == {
        "type": "object",
        "properties": {
            "event": {"type": "string", "const": "say"},
            "message": {"$ref": "#/components/schemas/Say"},
            "id": {"$ref": "#/components/schemas/FrameId"},
        },
        "required": ["event", "message"],
    }
    assert say["examples"] == [{"payload": {"event": "say", "message": {"text": "hi"}}}]
    assert say["traits"] == [{"$ref": "#/components/messageTraits/answered"}]
    answered = described["components"]["messageTraits"]["answered"]
    assert answered["correlationId"]["location"] == "$message.payload#/id"
    codes = channel["messages"]["error.say"]["payload"]["properties"]["message"]["properties"]
    assert codes["code"]["anyOf"] == [
        {"const": "muted", "description": "You may not speak here."},
        {"$ref": "#/components/schemas/ErrorCode"},
    ]
    operation = described["operations"]["t_tenant.receive.say"]
    assert operation["action"] == "receive"
    assert operation["security"] == [{"$ref": "#/components/securitySchemes/token"}]
    assert operation["reply"]["messages"] == [
        {"$ref": "#/channels/t_tenant/messages/reply.say"},
        {"$ref": "#/channels/t_tenant/messages/error.say"},
    ]
    assert described["operations"]["t_tenant.send.said"]["action"] == "send"
    assert list(described["components"]["schemas"]) == ["Say", "FrameId", "ErrorCode"]


def test_the_protocols_own_events_can_be_left_out() -> None:
    """With them, a trait marks them."""
    with_them, without = document(SMALL), document(SMALL, builtins=False)
    assert "joinRoom" in with_them["channels"]["t_tenant"]["messages"]
    assert "joinRoom" not in json.dumps(without)
    join = with_them["operations"]["t_tenant.receive.joinRoom"]
    assert join["traits"] == [{"$ref": "#/components/operationTraits/builtin"}]
    assert set(without["operations"]) < set(with_them["operations"])


def test_odd_names_have_keys_of_their_own() -> None:
    """Each event and each path has one, in the characters that AsyncAPI allows."""
    described = document(ODD_NAMES, builtins=False)
    assert list(described["channels"]) == ["t_tenant_id", "t_tenant_id_2", "root"]
    events = [key for key in described["channels"]["t_tenant_id"]["messages"] if "client" in key]
    assert events == [
        *("client.a_b", "client.a_b_2", "client.other", "client.class"),
        *("client.quo_te", "client.other_2"),
    ]
    assert described["info"] == {"title": "Odd", "version": "2.0.0"}


def test_names_are_not_those_of_python() -> None:
    """No module, no function and no mode of a library is in the document."""
    text = json.dumps([document(contract) for contract in CONTRACTS.values()])
    assert "tests" not in text and "<locals>" not in text and "__main__" not in text
    assert "$defs" not in text


def test_the_order_is_that_of_the_app() -> None:
    """The same each time; an event that is added at the end changes nothing before it."""
    once, again = document(messages(PYDANTIC)), document(messages(PYDANTIC))
    assert json.dumps(once) == json.dumps(again)
    more = document(messages({**PYDANTIC, "last": {"title": "Last", "type": "integer"}}))
    before = list(once["components"]["schemas"])
    assert [name for name in more["components"]["schemas"] if name != "Last"] == before


def test_a_thousand_events_take_bounded_time() -> None:
    """Less than ten seconds, and the models that are the same are one."""
    contract = thousand()
    begin = time.perf_counter()
    described = document(contract)
    assert time.perf_counter() - begin < 10
    names = list(described["components"]["schemas"])
    assert sum(name.startswith("Card") for name in names) == 50
    assert sum(name.startswith("Event") for name in names) == 1000


DRAFT_7: list[tuple[Any, Any]] = [
    (True, True),
    ({"prefixItems": [True], "items": False}, {"items": [True], "additionalItems": False}),
    ({"prefixItems": [True]}, {"items": [True]}),
    ({"$ref": "#/a"}, {"$ref": "#/a"}),
    ({"$ref": "#/a", "title": "A"}, {"title": "A", "allOf": [{"$ref": "#/a"}]}),
    (
        {"$ref": "#/a", "allOf": [{"type": "object"}]},
        {"allOf": [{"$ref": "#/a"}, {"type": "object"}]},
    ),
    ({"discriminator": {"propertyName": "k", "mapping": {}}}, {"discriminator": "k"}),
    ({"dependentRequired": {"a": ["b"]}}, {"dependencies": {"a": ["b"]}}),
    (
        {"dependentSchemas": {"a": {"prefixItems": [True]}}},
        {"dependencies": {"a": {"items": [True]}}},
    ),
    ({"unevaluatedProperties": False, "$schema": "x", "$id": "y"}, {}),
    ({"enum": []}, {"not": {}}),
    ({"type": "decimal128"}, {}),
    ({"type": ["decimal128", "null"]}, {"type": ["null"]}),
    (
        {"properties": {"$ref": {"type": "string"}, "a": True}},
        {"properties": {"a": True}, "patternProperties": {r"^\$ref$": {"type": "string"}}},
    ),
    ({"const": {"prefixItems": [1]}}, {"const": {"prefixItems": [1]}}),
]


@pytest.mark.parametrize(("schema", "expected"), DRAFT_7)
def test_schemas_become_those_of_asyncapi(schema: Any, expected: Any) -> None:
    """The keywords of the draft 2020-12 are rewritten, the values are not."""
    assert to_draft_7(schema) == expected


# -- the frames of a real app --------------------------------------------------------------------

app = WSRoom()


@app.on("sum")
async def add(emitter: Emitter, message: list[int]) -> int:
    return sum(message)


@app.on("move")
async def move(emitter: Emitter, message: str) -> None:
    await emitter.socket.join(message)
    await emitter.to(message).emit("moved", message)
    await emitter.socket.leave(message)


@app.on("mute")
async def mute(emitter: Emitter) -> None:
    raise Reject("Not now.", code="muted", data={"seconds": 5})


@app.on_join("board:{id}")
async def guard(socket: Socket, room: str, id: str) -> None:
    if id == "0":
        raise Reject("There is no such board.", code="not_found")


def validators() -> dict[str, Draft7Validator]:
    """The payloads of the app's document, by the keys of the messages."""
    described = app.asyncapi()
    channel = described["channels"]["ws"]
    found = {}
    for name, message in channel["messages"].items():
        if "$ref" in message:
            message = described["components"]["messages"][message["$ref"].rpartition("/")[2]]
        found[name] = Draft7Validator({**message["payload"], "components": described["components"]})
    return found


INVALID = "invalid"
"""Instead of the key of a message: the frame is not valid by any."""

ASKED: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"event": "sum", "message": [1, 2], "id": 1}, "client.sum", ["reply.sum"]),
    ({"event": "sum", "message": ["x"], "id": "x"}, INVALID, ["error"]),
    ({"event": "mute", "id": 1}, "client.mute", ["error"]),
    (
        {"event": "move", "message": "board:1", "id": 1},
        "client.move",
        ["joinedRoom", "server.moved", "leftRoom", "reply.move"],
    ),
    ({"event": "joinRoom", "message": "board:1", "id": 1}, "joinRoom", ["joinRoom.reply"]),
    (
        {"event": "joinRoom", "message": {"room": "board:1", "last": 5}, "id": 1},
        "joinRoom",
        ["joinRoom.reply"],
    ),
    (
        {"event": "joinRoom", "message": {"room": "board:2", "since": "x:1"}, "id": 1},
        "joinRoom",
        ["joinRoom.reply"],
    ),
    ({"event": "joinRoom", "message": "board:0", "id": 1}, "joinRoom", ["error"]),
    ({"event": "leaveRoom", "message": "board:1", "id": 1}, "leaveRoom", ["leaveRoom.reply"]),
    (
        {"event": "resume", "message": {"rooms": {"board:1": "x", "board:0": "x"}}, "id": 1},
        "resume",
        ["resume.reply"],
    ),
]


async def test_real_frames_fit_the_document() -> None:
    """What is sent and what arrives, built-in or not, is valid by the payload that describes it."""
    known = validators()
    known["server.moved"] = Draft7Validator(
        document(
            Contract(paths=(PathContract(path="/ws", server=(ServerEvent(event="moved"),)),)),
        )["channels"]["ws"]["messages"]["server.moved"]["payload"]
    )
    async with TestClient(app) as client:
        socket = await client.connect("/ws")
        connected = socket.frames[0]
        known["connected"].validate(connected)
        assert not known["joinedRoom"].is_valid(connected)
        for frame, sent, expected in ASKED:
            assert [name for name in known if known[name].is_valid(frame)] == (
                [] if sent == INVALID else [sent]
            )
            await socket.send_text(json.dumps(frame))
            arrived = [await socket.receive() for _ in expected]
            for name in expected:
                fitting = [each for each in arrived if known[name].is_valid(each)]
                assert fitting, (name, arrived)
                arrived.remove(fitting[0])
