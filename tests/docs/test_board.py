"""examples/board: logins, guards, cards, the chat; in one worker, and in two with Valkey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.brokers import Broker
from tests.support.pages import load_example
from tests.support.peers import WAIT
from wsroom import WSRoom
from wsroom.testing import Refused, TestClient, TestConnection

ROOM = "board:work"


class Board:
    """The apps of one board: one for each worker."""

    def __init__(self, apps: list[WSRoom], clients: list[TestClient]) -> None:
        self.apps = apps
        self.clients = clients

    async def http(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.apps[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://board") as client:
            return await client.request(method, path, **options)

    async def token(self, name: str = "ada", password: str = "lovelace") -> str:
        answer = await self.http("POST", "/login", json={"name": name, "password": password})
        token: str = answer.json()["token"]
        return token

    async def connect(self, worker: int = 0, *login: str) -> TestConnection:
        return await self.clients[worker].connect("/ws", query={"token": await self.token(*login)})

    async def cards(self, board: str = "work", *login: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self.token(*login)}"}
        return await self.http("GET", f"/boards/{board}/cards", headers=headers)


@pytest_asyncio.fixture(params=["one worker", "two workers"])
async def board(
    request: pytest.FixtureRequest,
    valkey: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Board]:
    """The example, started; its workers share a database, and Valkey."""
    monkeypatch.setenv("BOARD_DATABASE", f"sqlite:///{tmp_path / 'board.db'}")
    monkeypatch.setenv("BOARD_KEY", "k" * 32)
    monkeypatch.setenv("BOARD_DEBUG", "1")  # what it emits must be what it declares
    count = 1
    if request.param == "two workers":
        monkeypatch.setenv("WSROOM_REDIS_URL", valkey.url)
        count = 2
    apps = [load_example("board") for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(TestClient(app, timeout=WAIT)) for app in apps]
        yield Board(apps, clients)


async def test_only_a_valid_token_connects(board: Board) -> None:
    """A wrong password gives none; a foreign or an expired one is refused with 401."""
    for login in ({"name": "ada", "password": "x"}, {"name": "eve", "password": ""}):
        assert (await board.http("POST", "/login", json=login)).status_code == 401
    token = await board.token()
    for wrong in ("", "x", token[:-4], token.replace(".", "x")):
        with pytest.raises(Refused) as refused:
            await board.clients[0].connect("/ws", query={"token": wrong})
        assert refused.value.status == 401


async def test_a_board_is_for_its_members(board: Board) -> None:
    """Its room, its cards, and events that name it."""
    bob = await board.connect(-1, "bob", "builder")
    with pytest.raises(Refused, match="not yours"):
        await bob.join("board:home")
    with pytest.raises(Refused):
        await bob.join("other")
    assert (await board.cards("home", "bob", "builder")).status_code == 403
    assert (await board.cards("home")).status_code == 200
    for event in ("add", "say", "typing"):
        with pytest.raises(Refused, match="Open the board first"):
            await bob.request(event, {"board": "home", "text": "x"})


async def test_cards_are_added_and_moved(board: Board) -> None:
    """Every member sees it, whichever the worker, and the database has it."""
    ada, bob = await board.connect(), await board.connect(-1, "bob", "builder")
    for each in (ada, bob):
        await each.join(ROOM)
    id = await ada.request("add", {"board": "work", "text": "Write it"})
    card = {"id": id, "text": "Write it", "column": "todo", "version": 1}
    assert await bob.expect("card") == card | {"by": "ada"}
    await bob.request("move", {"board": "work", "card": id, "column": "doing"})
    card |= {"column": "doing", "version": 2}
    assert await ada.expect("card") == {**card, "version": 1, "column": "todo", "by": "ada"}
    assert await ada.expect("card") == card | {"by": "bob"}
    assert (await board.cards()).json() == [card]
    with pytest.raises(Refused, match="no such card"):
        await bob.request("move", {"board": "work", "card": id + 1, "column": "done"})
    with pytest.raises(Refused, match="column") as refused:
        await bob.request("move", {"board": "work", "card": id, "column": "nowhere"})
    assert refused.value.code == "invalid_message" and refused.value.data[0]["loc"] == ["column"]
    with pytest.raises(Refused, match="text: String should have at least 1 character"):
        await bob.request("add", {"board": "work", "text": ""})


async def test_moves_at_the_same_time_have_different_versions(board: Board) -> None:
    """So all pages, and the database, end with the same column."""
    ada, bob = await board.connect(), await board.connect(-1, "bob", "builder")
    for each in (ada, bob):
        await each.join(ROOM)
    id = await ada.request("add", {"board": "work", "text": "Busy"})
    moves = [
        each.request("move", {"board": "work", "card": id, "column": column})
        for each in (ada, bob)
        for column in ("doing", "done", "todo")
    ]
    await asyncio.gather(*moves)
    (stored,) = (await board.cards()).json()
    for each in (ada, bob):
        seen = [await each.expect("card") for _ in range(7)]
        assert sorted(card["version"] for card in seen) == [1, 2, 3, 4, 5, 6, 7]
        last = max(seen, key=lambda card: int(card["version"]))
        assert {**stored, "by": last["by"]} == last


async def test_a_newcomer_gets_the_last_messages_but_no_typing(board: Board) -> None:
    """Notices of typing are volatile: live they arrive, and nobody gets them later."""
    ada, bob = await board.connect(), await board.connect(-1, "bob", "builder")
    for each in (ada, bob):
        await each.join(ROOM)
    for number in range(60):
        await ada.request("typing", {"board": "work"})
        await ada.request("say", {"board": "work", "text": str(number)})
    assert await bob.expect("typing") == "ada"
    late = await board.connect(-1)
    assert (await late.join(ROOM, last=50))["replayed"] == 50
    said = [frame for frame in late.frames if frame["room"] == ROOM]
    assert {frame["event"] for frame in said} == {"said"}
    assert [frame["message"]["text"] for frame in said] == [str(n) for n in range(10, 60)]
