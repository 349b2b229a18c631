"""`events.d.ts`: what compiles with it is what the schemas accept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.contracts import (
    CONTRACTS,
    MSGSPEC,
    PYDANTIC,
    STRANGE,
    board,
    thousand,
)
from tests.support.pages import blocks, load_app, save
from tests.support.paths import DOCS
from tests.support.schema_values import invalid_values, valid_values
from tests.support.typescript import add_client, compile_all
from wsroom.describe import contract_of
from wsroom.schema.contract import ClientEvent, Contract, JsonSchema, PathContract, ServerEvent
from wsroom.schema.typescript import declarations

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),  # with the installation of the packages
    pytest.mark.xdist_group("typescript"),
]

GUIDE = DOCS / "typescript.md"

VALUES = 12
"""Values of each schema..."""
CHANGES = 12
"""...and changed ones of each value."""

NO_VALUE = (
    *("cannot_be_told_apart", "false", "no_values", "not_anything", "unknown_kind"),
    "wrong_constant",
)
ENDLESS = ("itself", "in_a_circle")
"""A validator does not end."""
NOT_LITERAL = ("a_property_called_ref",)
"""`__proto__` in an object of JavaScript is not a property."""
SAID_BY_TYPES = ("all", "old_tuple", "optional_tuple", "kinds", "constants", "true")
"""Strange schemas of which a type can say all."""

ROUND_TRIPS: dict[str, dict[str, JsonSchema]] = {
    "pydantic": PYDANTIC,
    "msgspec": MSGSPEC,
    "strange": {n: s for n, s in STRANGE.items() if n not in (*NO_VALUE, *ENDLESS, *NOT_LITERAL)},
}

CLIENT = """
import { connect, type Socket, type TypedSocket, WSRoomError } from "./wsroom.js";
import type { Paths } from "./board.js";

type Board = Paths["/ws"];
const socket: TypedSocket<Board> = connect<Board>("/ws", { buffer: 10 });
const id: number = await socket.request("add", { board: "work", text: "Write" });
await socket.request("move", { board: "work", card: id, column: "done" }, { timeout: 1000 });
const stop: () => void = socket.on("card", (card, sender, room, time) => {
  const column: "todo" | "doing" | "done" = card.column;
  console.log(card.text.length, column, sender?.length, room?.length, time?.toFixed());
});
socket.once("typing", (by) => by.toUpperCase());
socket.on("*", (frame) => console.log(frame.event, frame.offset));
socket.on("leftRoom", ({ room }) => room.length);
socket.on("connected", ({ limits }) => limits.frame.toFixed());
socket.off("card");
socket.off("card", (card: unknown) => console.log(card));
socket.emit("typing", { board: "work" }, { volatile: true });
await socket.joinRoom("board:work", { last: 50 });
socket.onError((error) => error instanceof WSRoomError && error.code);
stop();

// @ts-expect-error a misspelt event
socket.emit("typng", { board: "work" });
// @ts-expect-error an event that only the server emits
socket.emit("card", { board: "work" });
// @ts-expect-error a misspelt key
socket.emit("typing", { baord: "work" });
// @ts-expect-error one key more
socket.emit("say", { board: "work", text: "hi", loud: true });
// @ts-expect-error a key is missing
socket.emit("say", { board: "work" });
// @ts-expect-error a message is missing
socket.emit("say");
// @ts-expect-error another type
socket.emit("say", { board: "work", text: 5 });
// @ts-expect-error none of the columns
await socket.request("move", { board: "work", card: 1, column: "later" });
// @ts-expect-error the reply is a number
const text: string = await socket.request("add", { board: "work", text: "Write" });
// @ts-expect-error no such option
socket.request("add", { board: "work", text: "Write" }, { retries: 3 });
// @ts-expect-error an event that is not declared
socket.on("crad", () => {});
// @ts-expect-error an event that only clients send
socket.on("move", () => {});
// @ts-expect-error another message
socket.on("typing", (by: number) => by);
// @ts-expect-error a card has no title
socket.on("card", (card) => card.title);
// @ts-expect-error an event that is not declared
socket.once("crad", () => {});
// @ts-expect-error an event that is not declared
socket.off("crad");
// @ts-expect-error no path of the app
type Other = Paths["/other"];
// @ts-expect-error not the events of a path
connect<{ client: 5 }>("/ws");

// Without the argument, everything is as loose as before.
const loose: Socket = connect("/ws");
loose.on("anything", (message) => message.text.length);
loose.emit("anything", { any: ["message"] });
const sum: number = await loose.request<number>("sum", [1, 2]);
const any = await loose.request("sum");
any.whatever;
export { sum, text };
export type { Other };
"""

OPEN = """
import { connect } from "./wsroom.js";
import type { Paths } from "./open.js";

// An app that declares nothing about an event, or about what it emits.
const socket = connect<Paths["/ws"]>("/ws");
socket.emit("untyped");
socket.emit("untyped", { any: 5 });
socket.emit("ping");
socket.emit("ping", null, { volatile: true });
socket.on("whatever", (message: unknown) => message);
const reply: unknown = await socket.request("untyped");
// @ts-expect-error the handler takes no message
socket.emit("ping", 5);
// @ts-expect-error nothing is known about the message
socket.on("whatever", (message) => message.text);
// @ts-expect-error nothing is known about the reply
reply.text;
// @ts-expect-error a misspelt event
socket.emit("untypd");

// "*" handles all others.
const wild = connect<Paths["/wild"]>("/wild");
wild.emit("say", "text");
wild.emit("other", { any: 5 });
// @ts-expect-error this one is declared
wild.emit("say", 5);
wild.on("said", (text) => text.length);
// @ts-expect-error declared are some, so these are all
wild.on("sadi", () => {});
"""

OPEN_CONTRACT = Contract(
    paths=(
        PathContract(
            path="/ws",
            client=(
                ClientEvent(event="untyped"),
                ClientEvent(event="ping", message={"type": "null"}),
            ),
        ),
        PathContract(
            path="/wild",
            client=(ClientEvent(event="say", message={"type": "string"}), ClientEvent(event="*")),
            server=(ServerEvent(event="said", message={"type": "string"}),),
        ),
    )
)


def program(name: str, lines: Iterator[tuple[str, Any]], prefix: str = "") -> str:
    """A program with a constant for each value of an event."""
    text = [f'import type {{ Paths }} from "./{name}.js";\n']
    text += [
        f'{prefix}export const v{number}: Paths["/ws"]["client"]["{event}"] = '
        f"{json.dumps(value)};\n"
        for number, (event, value) in enumerate(lines)
    ]
    return "".join(text)


def valid(schemas: dict[str, JsonSchema]) -> Iterator[tuple[str, Any]]:
    for event, schema in schemas.items():
        values = valid_values(schema, VALUES, seed=1)
        assert values, event
        yield from ((event, value) for value in values)


def invalid(schemas: dict[str, JsonSchema]) -> Iterator[tuple[str, Any]]:
    for event, schema in schemas.items():
        if schemas is ROUND_TRIPS["strange"] and event not in SAID_BY_TYPES:
            continue
        for value in valid_values(schema, VALUES, seed=1):
            yield from ((event, each) for each in invalid_values(schema, value, 1, CHANGES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All programs of this module."""
    folder = tmp_path_factory.mktemp("typescript")
    add_client(folder)
    contracts = {**CONTRACTS, "board": board(), "thousand": thousand(), "open": OPEN_CONTRACT}
    for name, contract in contracts.items():
        (folder / f"{name.replace(' ', '_')}.d.ts").write_text(declarations(contract))
    for name, schemas in ROUND_TRIPS.items():
        (folder / f"{name}_valid.ts").write_text(program(name, valid(schemas)))
        expected = "// @ts-expect-error\n"
        (folder / f"{name}_invalid.ts").write_text(program(name, invalid(schemas), expected))
    page = {each.language: "" for each in blocks(GUIDE)}
    for block in blocks(GUIDE):
        page[block.language] += block.text
    (folder / "guide.ts").write_text(page["ts"])
    (folder / "events.d.ts").write_text(page["typescript"])
    (folder / "client.ts").write_text(CLIENT)
    (folder / "open_app.ts").write_text(OPEN)
    return folder


@pytest.fixture(scope="module")
def errors(folder: Path) -> dict[str, list[str]]:
    """The errors of one run of the compiler."""
    return compile_all(folder)


@pytest.mark.parametrize("name", [*CONTRACTS, "board", "thousand"])
def test_the_types_compile(name: str, errors: dict[str, list[str]]) -> None:
    """Of all contracts, in strict mode: models of any names, strange schemas, 1,000 events."""
    assert errors.get(f"{name.replace(' ', '_')}.d.ts", []) == []


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_valid_values_compile(name: str, folder: Path, errors: dict[str, list[str]]) -> None:
    """What a schema accepts, its type accepts."""
    assert errors.get(f"{name}_valid.ts", []) == []
    assert (folder / f"{name}_valid.ts").read_text().count("export const") > len(ROUND_TRIPS[name])


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_invalid_values_do_not_compile(
    name: str, folder: Path, errors: dict[str, list[str]]
) -> None:
    """Values with a wrong part, a key that is missing, or one more."""
    assert errors.get(f"{name}_invalid.ts", []) == []
    assert (folder / f"{name}_invalid.ts").read_text().count("@ts-expect-error") > 50


@pytest.mark.parametrize("name", ["client.ts", "open_app.ts", "guide.ts", "events.d.ts"])
def test_the_client_knows_the_events(name: str, errors: dict[str, list[str]]) -> None:
    """Misspelt and undeclared events, wrong messages and wrong replies do not compile."""
    assert errors.get(name, []) == []
    assert errors.get("wsroom.d.ts", []) == []


def test_the_guide_shows_the_types_of_its_app(tmp_path: Path) -> None:
    """Word for word."""
    save(GUIDE, tmp_path)
    written = declarations(contract_of(load_app(tmp_path)))
    assert [each.text for each in blocks(GUIDE) if each.language == "typescript"] == [written]
