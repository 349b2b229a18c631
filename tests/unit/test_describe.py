"""From an app to its contract."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypedDict

from wsroom import Controller, Emitter, Router, Socket, WSRoom, on
from wsroom.describe import contract_of
from wsroom.schema.contract import (
    ClientEvent,
    Contract,
    JsonSchema,
    PathContract,
    RoomContract,
    ServerEvent,
)


class Boards(Controller):
    """The boards."""

    path = "/t/{tenant}"

    @on("move", raises={"not_found": "There is no such card."})
    async def move(self, emitter: Emitter, message: list[int]) -> str:
        """Move a card.

        To another column.
        """
        return ""

    async def on_connect(self, socket: Socket, tenant: int) -> None:
        """Needs a token."""

    async def on_join(self, socket: Socket, room: str) -> None:
        """Members only."""


async def any_event(emitter: Emitter, message: Any, *, more: int) -> Any:
    """All others."""


def array(kind: str) -> JsonSchema:
    return {"type": "array", "items": {"type": kind}}


def test_an_app_is_described() -> None:
    """Its paths in the order of the routes, with docstrings, patterns and events."""
    app = WSRoom()
    router = Router("/chat")

    @router.on("ping")
    def ping(emitter: Any) -> None: ...

    router.add_handler("*", partial(any_event, more=1))

    @router.on_join("order:{id}:{part}")
    async def guard(socket: Socket, room: str, id: Literal["a", 1]) -> None: ...

    @app.page("/")
    def page() -> str:
        return ""

    app.emits("moved", list[str], path="/chat", doc="Cards were moved.")
    app.emits("any", object, path="/chat")
    app.include(router, Boards())
    assert contract_of(app, {"info": {}}, "/rt") == Contract(
        paths=(
            PathContract(
                path="/rt/chat",
                client=(
                    ClientEvent(event="ping", message={"type": "null"}, reply={"type": "null"}),
                    ClientEvent(event="*", doc="All others."),
                ),
                rooms=(
                    RoomContract(
                        pattern="order:{id}:{part}",
                        parameters={"id": {"enum": ["a", 1]}, "part": None},
                    ),
                ),
                server=(
                    ServerEvent(event="moved", message=array("string"), doc="Cards were moved."),
                    ServerEvent(event="any"),
                ),
            ),
            PathContract(
                path="/rt/t/{tenant}",
                doc="Needs a token.",
                parameters={"tenant": {"type": "integer"}},
                client=(
                    ClientEvent(
                        event="move",
                        doc="Move a card.\n\nTo another column.",
                        message=array("integer"),
                        reply={"type": "string"},
                        raises={"not_found": "There is no such card."},
                    ),
                ),
                rooms=(RoomContract(pattern="*", doc="Members only."),),
            ),
        ),
        document={"info": {}},
    )


class Person(TypedDict):
    """Somebody who is here."""

    id: int
    name: str


def test_the_cards_of_rooms_with_presence_are_described() -> None:
    """By the type that the function returns, without None; beside the guard of the same rooms."""
    app = Router()

    @app.on_join("board:{id}")
    async def guard(socket: Socket, room: str) -> None:
        """Members only."""

    @app.presence("board:{number}")
    async def person(socket: Socket, room: str) -> Person | None: ...

    @app.presence("hall")
    async def anybody(socket: Socket, room: str): ...  # type: ignore[no-untyped-def]

    board, hall = contract_of(app).paths[0].rooms
    assert (board.pattern, board.doc) == ("board:{id}", "Members only.")
    assert isinstance(board.presence, dict)
    shown = str(board.presence)
    assert "name" in shown and "integer" in shown and "null" not in shown
    assert (hall.pattern, hall.presence) == ("hall", {"type": "object"})
