"""docs/protocol.md, played against a real server: its examples are the test."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

import wsroom
from tests.support.paths import DOCS
from tests.support.peers import WAIT
from tests.support.servers import Server, serve
from wsroom.wire.protocol import CONNECTED, ERROR, JOIN, LEAVE, REPLY, RESERVED, RESUME, RESYNC

PAGE = (DOCS / "protocol.md").read_text(encoding="utf-8")
LINE = re.compile(r"(?P<client>[a-z]?)(?P<way>[<>]) (?P<rest>.+)")
PLACEHOLDER = re.compile(r"<([^<>]+)>")


class Step(NamedTuple):
    """One line of an example."""

    line: int
    client: str
    sends: bool
    rest: str


Example = tuple[Step, ...]


def blocks(language: str) -> list[tuple[int, str]]:
    """The page's fenced blocks of a language, each with the number of its first line."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [(PAGE.count("\n", 0, block.start()) + 2, block[1]) for block in found]


def read_example(first: int, text: str) -> Example:
    steps = []
    for number, line in enumerate(text.splitlines(), first):
        match = LINE.fullmatch(line)
        assert match, f"line {number} is none of an example: {line}"
        steps.append(Step(number, match["client"], match["way"] == ">", match["rest"]))
    return tuple(steps)


EXAMPLES = [read_example(*block) for block in blocks("wire")]


class Player:
    """Plays one example: sends what its clients send, compares what its server sends."""

    def __init__(self, server: Server, stack: contextlib.AsyncExitStack) -> None:
        self.server = server
        self.stack = stack
        self.clients: dict[str, ClientConnection] = {}
        self.refused: dict[str, int] = {}
        self.values: dict[str, str] = {}
        """What the placeholders stand for, as far as it is known."""

    async def play(self, example: Example) -> None:
        opens = {step.client for step in example if step.rest.startswith("connect ")}
        for name in sorted({step.client for step in example} - opens):
            await self.connect(name, "/ws")
            connected = json.loads(await self.clients[name].recv())
            self.values[own_id(name)] = connected["message"]["id"]
        for step in example:
            try:
                async with asyncio.timeout(WAIT):
                    await (self.send(step) if step.sends else self.compare(step))
            except (AssertionError, TimeoutError, ConnectionClosed) as exc:
                raise AssertionError(f"docs/protocol.md, line {step.line}: {exc!r}") from exc
        await self.finish()

    async def connect(self, name: str, path: str, *options: str) -> None:
        origin: Origin | None = None
        offered = []
        for option in options:
            if option.startswith("origin="):
                origin = Origin(option.removeprefix("origin="))
            else:
                offered.append(Subprotocol(option))
        opening = connect(
            self.server.url(path), subprotocols=offered or None, origin=origin, open_timeout=WAIT
        )
        try:
            self.clients[name] = await self.stack.enter_async_context(opening)
        except InvalidStatus as exc:
            self.refused[name] = exc.response.status_code

    async def send(self, step: Step) -> None:
        word, _, rest = step.rest.partition(" ")
        if word == "connect":
            await self.connect(step.client, *rest.split())
        elif word == "binary":
            await self.clients[step.client].send(bytes.fromhex(rest))
        elif word == "close":
            await self.clients[step.client].close(int(rest))
        else:
            await self.clients[step.client].send(
                PLACEHOLDER.sub(lambda found: self.values[found[1]], step.rest)
            )

    async def compare(self, step: Step) -> None:
        word, _, rest = step.rest.partition(" ")
        if word == "refuse":
            assert self.refused[step.client] == int(rest)
        elif word == "accept":
            assert self.clients[step.client].subprotocol == (rest or None)
        elif step.rest == "accept":
            assert self.clients[step.client].subprotocol is None
        elif word == "close":
            with pytest.raises(ConnectionClosed):
                await self.clients[step.client].recv()
            assert self.clients[step.client].close_code == int(rest)
        else:
            frame = json.loads(await self.clients[step.client].recv())
            self.match(json.loads(step.rest), frame, frame)
            if frame["event"] == CONNECTED:
                assert self.values[own_id(step.client)] == frame["sender"]

    def match(self, shown: Any, got: Any, frame: Any) -> None:
        """Assert that `got` is what the page shows; learn what the placeholders stand for."""
        assert type(shown) is type(got) or isinstance(shown, str), frame
        if isinstance(shown, dict):
            assert shown.keys() == got.keys(), frame
            for key, value in shown.items():
                if key == "retry_after":
                    assert 0.95 * value < got[key] < 1.05 * value, frame
                elif key == "time":
                    assert isinstance(got[key], int) and got[key] > 1_500_000_000_000, frame
                else:
                    self.match(value, got[key], frame)
        elif isinstance(shown, list):
            for value, one in zip(shown, got, strict=True):
                self.match(value, one, frame)
        elif isinstance(shown, str) and (placeholder := PLACEHOLDER.fullmatch(shown)):
            assert isinstance(got, str), frame
            assert self.values.setdefault(placeholder[1], got) == got, frame
        elif shown == "...":
            assert isinstance(got, str), frame
            assert got, frame
        else:
            assert shown == got, frame

    async def finish(self) -> None:
        """Assert that the server sent nothing more than the example shows."""
        assert len(set(self.values.values())) == len(self.values), self.values
        clients = [one for one in self.clients.values() if one.close_code is None]
        # The first lap says that all frames were handled, the second that all has arrived.
        for lap in ("first", "second"):
            for client in clients:
                await client.send(json.dumps({"event": LEAVE, "message": "end", "id": lap}))
                async with asyncio.timeout(WAIT):
                    frame = json.loads(await client.recv())
                assert (frame["event"], frame.get("id")) == (REPLY, lap), frame


def own_id(name: str) -> str:
    return f"id of {name}" if name else "own id"


def app_of_the_page() -> Any:
    namespace: dict[str, Any] = {}
    for _, code in blocks("python"):
        exec(compile(code, "docs/protocol.md", "exec"), namespace)
    return namespace["app"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line-{example[0].line}")
async def test_the_example_is_what_happens(example: Example) -> None:
    """A real server answers the example's frames with the example's frames, and no others."""
    async with serve(app_of_the_page()) as server, contextlib.AsyncExitStack() as stack:
        await Player(server, stack).play(example)


def shown(*, sends: bool) -> list[dict[str, Any]]:
    """The frames in the examples, of the clients or of the server, where they are objects."""
    frames = []
    for example in EXAMPLES:
        for step in example:
            if step.sends is sends and step.rest.startswith("{"):
                with contextlib.suppress(json.JSONDecodeError):
                    frames.append(json.loads(step.rest))
    return frames


def test_every_kind_of_frame_is_shown() -> None:
    """The page has an example of each built-in event and of each form of an app's event."""
    sent = {frame.get("event") for frame in shown(sends=True)}
    assert {JOIN, LEAVE, RESUME} <= {event for event in sent if isinstance(event, str)}
    answers = shown(sends=False)
    assert {CONNECTED, REPLY, ERROR, RESYNC} <= {frame["event"] for frame in answers}
    apps = [frame for frame in answers if frame["event"] not in RESERVED]
    forms = {(frame["sender"] is None, frame["room"] is None) for frame in apps}
    assert forms >= {(False, False), (False, True), (True, False)}


def codes_in_the_source() -> set[str]:
    """The error codes that wsroom's own code gives, read off its calls."""
    codes = set()
    for path in Path(wsroom.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                code = node.args[0]
                answers = name == "ProtocolError" or (name == "send_error" and len(node.args) == 4)
                if answers and isinstance(code, ast.Constant):
                    codes.add(str(code.value))
    return codes | {wsroom.Reject().code}


def test_every_error_code_is_shown_and_explained() -> None:
    """Each code that can occur is in an example and in the table, and no other is in the table."""
    codes = codes_in_the_source()
    errors = [frame for frame in shown(sends=False) if frame["event"] == ERROR]
    assert codes <= {frame["message"]["code"] for frame in errors}
    table = PAGE.partition("\n## Error codes\n")[2].partition("\n\nAn app may")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == codes


def test_the_reserved_names_are_said() -> None:
    """The page lists the events that an app can neither handle nor emit."""
    section = PAGE.partition("\n## Reserved\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", section)) == RESERVED


def test_the_limits_are_those_of_the_code() -> None:
    """The numbers in the table are the defaults."""
    limits = wsroom.Limits()
    section = PAGE.partition("\n## Limits and names\n")[2].partition("\n## ")[0]
    for words, number in {
        "bytes of a client's frame": f"{limits.frame_size:,}",
        "nesting of a client's frame, its own object counted": f"{limits.depth}",
        "an event's name": f"1 to {limits.event_name} characters",
        "a room's name": f"1 to {limits.room_name} bytes of UTF-8",
        "rooms of a socket": f"{limits.rooms_per_socket}",
        "bad frames": f"{limits.bad_frames} in a minute",
        "seconds for handling a frame": f"{limits.handler_timeout:g}",
        "members that are shown": f"{limits.members:,}",
        "bytes that wait for a slow socket": "1 MiB, not shrinking for a second",
    }.items():
        assert f"| {words} * | {number} |" in section
