"""From an app to its contract."""

from __future__ import annotations

from functools import partial
from typing import Any

from wsroom import Controller, Emitter, Router, Socket, WSRoom, on
from wsroom.describe import contract_of
from wsroom.schema.contract import ClientEvent, Contract, PathContract, RoomContract


class Boards(Controller):
    """The boards."""

    path = "/t/{tenant}"

    @on("move")
    async def move(self, emitter: Emitter, message: Any) -> None:
        """Move a card.

        To another column.
        """

    async def on_connect(self, socket: Socket) -> None:
        """Needs a token."""

    async def on_join(self, socket: Socket, room: str) -> None:
        """Members only."""


async def any_event(emitter: Emitter, message: Any, *, more: int) -> None:
    """All others."""


def test_an_app_is_described() -> None:
    """Its paths in the order of the routes, with docstrings, patterns and events."""
    app = WSRoom()
    router = Router("/chat")

    @router.on("ping")
    def ping(emitter: Any) -> None: ...

    router.add_handler("*", partial(any_event, more=1))

    @router.on_join("order:{id}:{part}")
    async def guard(socket: Socket, room: str) -> None: ...

    @app.page("/")
    def page() -> str:
        return ""

    app.include(router, Boards())
    assert contract_of(app, {"info": {}}, "/rt") == Contract(
        paths=(
            PathContract(
                path="/rt/chat",
                client=(
                    ClientEvent(event="ping", message={"type": "null"}),
                    ClientEvent(event="*", doc="All others."),
                ),
                rooms=(
                    RoomContract(
                        pattern="order:{id}:{part}", parameters={"id": None, "part": None}
                    ),
                ),
            ),
            PathContract(
                path="/rt/t/{tenant}",
                doc="Needs a token.",
                parameters={"tenant": None},
                client=(ClientEvent(event="move", doc="Move a card.\n\nTo another column."),),
                rooms=(RoomContract(pattern="*", doc="Members only."),),
            ),
        ),
        document={"info": {}},
    )
