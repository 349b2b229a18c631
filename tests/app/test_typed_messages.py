"""Annotations of handlers are checks: what reaches a handler, and what a client is told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from wsroom import BlockingEmitter, Controller, Emitter, Reject, Router, SetupError, WSRoom, on
from wsroom.connection.dispatch import handle
from wsroom.testing import Refused, TestClient
from wsroom.wire.protocol import Inbound

Call = Callable[[object], Awaitable[object]]


class Say(BaseModel):
    room: str
    text: str = Field(max_length=10)


class Said(BaseModel):
    by: str = Field(alias="from")
    text: str = ""


class Move(msgspec.Struct, rename="camel"):
    card_id: int
    column: Literal["todo", "done"]


def typed_app(**options: Any) -> tuple[WSRoom, list[Any]]:
    """An app with typed handlers of each kind, and what reached them."""
    app, got = WSRoom(**options), list[Any]()

    @app.on("say")
    async def say(emitter: Emitter, message: Say) -> Said:
        got.append(message)
        return Said(**{"from": message.room, "text": message.text})

    @app.on("move")
    def move(emitter: BlockingEmitter, message: Move) -> Move:
        assert threading.current_thread() is not threading.main_thread()
        got.append(message)
        return message

    @app.on("sum", concurrent=True)
    async def add(emitter: Emitter, message: list[float]) -> float:
        got.append(message)
        return sum(message)

    @app.on("optional")
    async def optional(emitter: Emitter, message: str | None = "default") -> str | None:
        got.append(message)
        return message

    @app.on("*")
    async def rest(emitter: Emitter, message: dict[str, int]) -> dict[str, int]:
        got.append(message)
        return message

    return app, got


async def test_a_handler_gets_what_its_annotation_says() -> None:
    """With and without an `id`, in a thread, concurrently, and for every other event."""
    app, got = typed_app()
    async with TestClient(app) as client:
        a = await client.connect()
        said = {"from": "chat", "text": "hi"}
        assert await a.request("say", {"room": "chat", "text": "hi"}) == said
        move = {"cardId": 5, "column": "done"}
        assert await a.request("move", move) == move
        assert await a.request("sum", [1, 2.5]) == 3.5
        assert await a.request("optional") is None
        assert await a.request("other", {"x": 1}) == {"x": 1}
        events = {"say": {"room": "chat", "text": "hi"}, "move": move, "sum": [1], "other": {}}
        for event, message in events.items():
            await a.emit(event, message)
            await client.settle()
        assert [frame["event"] for frame in a.frames].count("error") == 0
    say, moved = Say(room="chat", text="hi"), Move(card_id=5, column="done")
    assert got == [say, moved, [1.0, 2.5], None, {"x": 1}, say, moved, [1.0], {}]
    assert type(got[2][0]) is float


@pytest.mark.parametrize(
    ("event", "message", "loc", "type"),
    [
        ("say", {"room": "chat"}, ["text"], "missing"),
        ("say", {"room": "chat", "text": "x" * 11}, ["text"], "string_too_long"),
        ("move", {"cardId": 5, "column": "nowhere"}, ["column"], "invalid"),
        ("sum", [1, "2"], [1], "number_type"),
        ("optional", 5, [], "union_error"),
        ("other", None, [], "dict_type"),
    ],
)
async def test_a_message_that_does_not_fit_never_reaches_the_handler(
    event: str, message: Any, loc: list[Any], type: str
) -> None:
    """The answer is `invalid_message`, with the place and the kind of the problem."""
    app, got = typed_app()
    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused) as refused:
            await a.request(event, message)
        assert refused.value.code == "invalid_message"
        assert refused.value.detail.startswith("the message is invalid: ")
        (problem,) = refused.value.data
        assert (problem["loc"], problem["type"]) == (loc, type)
        await a.emit(event, message)
        error = await a.expect("error")
        assert error["event"] == event and error["data"] == [problem]
    assert got == []


async def test_an_invalid_message_is_no_bad_frame() -> None:
    """However many there are, the connection stays; a check that is slow is another matter."""
    app, got = typed_app()
    async with TestClient(app) as client:
        a = await client.connect()
        for _ in range(50):
            await a.emit("say", {"room": 5})
        assert await a.request("sum", [1]) == 1.0
        assert a.close_code is None
    assert len(got) == 1


async def test_the_app_is_not_told_about_invalid_messages() -> None:
    """Neither `on_error` nor middleware is called; middleware gets the checked message."""
    app, got = typed_app()
    seen: list[Any] = []

    @app.middleware()
    async def around(emitter: Emitter, message: object, call: Call) -> object:
        seen.append(message)
        return await call(message)

    @app.on_error()
    async def failed(emitter: Emitter, exc: BaseException) -> None:
        pytest.fail("it was called")

    async with TestClient(app) as client:
        a = await client.connect()
        for event in ("say", "move", "sum", "other"):
            with pytest.raises(Refused, match="invalid_message"):
                await a.request(event, "wrong")
        await a.request("say", {"room": "chat", "text": "hi"})
    assert seen == got == [Say(room="chat", text="hi")]


async def test_middleware_may_give_the_handler_anything() -> None:
    """What it gives is the app's own, and not checked again."""
    app, got = typed_app()

    @app.middleware()
    async def around(emitter: Emitter, message: object, call: Call) -> object:
        return await call("anything")

    async with TestClient(app) as client:
        a = await client.connect()
        assert await a.request("optional", "x") == "anything"
    assert got == ["anything"]


async def test_an_untyped_handler_is_called_directly() -> None:
    """Its coroutine is the frame's, and its function the one in the table; a typed one's too."""
    app, _ = typed_app()
    kept: list[Any] = []

    @app.on("plain")
    async def plain(emitter, message):  # type: ignore[no-untyped-def]
        kept.append(emitter.socket._connection)

    async with TestClient(app) as client:
        a = await client.connect()
        await a.request("plain")
        (connection,) = kept
        assert connection.route.plans["plain"][:2] == (plain, True)
        coroutine: Any = handle(connection, Inbound("plain", None, None))
        assert coroutine.cr_code is plain.__code__
        coroutine.close()


async def test_what_a_validator_raises_is_a_failure_of_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`internal`, and logged, like the handler's own."""

    class Failing(BaseModel):
        def __init__(self, **data: Any) -> None:
            raise KeyError("secret")

    app = WSRoom()

    @app.on("fail")
    async def fail(emitter: Emitter, message: Failing) -> None: ...

    async with TestClient(app) as client:
        a = await client.connect()
        with pytest.raises(Refused, match="internal: the server failed"):
            await a.request("fail", {})
    assert "the handler of 'fail' on /ws raised" in caplog.text


async def test_models_are_emitted_by_alias() -> None:
    """To rooms and to the sender, also in containers."""
    app = WSRoom(debug=True)
    app.emits("said", Said, doc="Somebody said something.")
    app.emits("moved", list[Move])

    @app.on("say")
    async def say(emitter: Emitter, message: Say) -> None:
        await emitter.to(message.room).emit("said", Said(**{"from": "ada"}))
        await emitter.emit_to_sender("moved", [Move(card_id=1, column="todo")])

    async with TestClient(app) as client:
        a = await client.connect()
        await a.join("chat")
        await a.emit("say", {"room": "chat", "text": "hi"})
        assert await a.expect("said") == {"from": "ada", "text": ""}
        assert await a.expect("moved") == [{"cardId": 1, "column": "todo"}]


async def test_debug_mode_checks_declared_emits() -> None:
    """The emit raises, wherever it is; without debug mode nothing is checked."""
    for debug in (True, False):
        app = WSRoom(debug=debug)
        app.emits("said", Said)
        app.emits("said", int, path="/t/{tenant}")
        app.emits("typing")
        app.emits("anything", object)

        @app.on("say")
        async def say(emitter: Emitter, message: Any, app: WSRoom = app) -> list[str]:
            raised = []
            for emit in (
                emitter.emit,
                emitter.emit_except_sender,
                emitter.emit_to_sender,
                app.to().emit,
            ):
                try:
                    await emit("said", message)
                except ValueError as exc:
                    raised.append(str(exc))
            await emitter.emit("anything", message)
            return raised

        async with TestClient(app) as client:
            a = await client.connect()
            right = {"from": "ada", "text": "x"}
            assert await a.request("say", right) == []
            reason = "the message of 'said' is not Said, as declared: message has no 'from'"
            assert await a.request("say", {"text": "x"}) == ([reason] * 4 if debug else [])
            await app.to().emit("typing")
            if debug:
                with pytest.raises(ValueError, match="'typing' is not None"):
                    await app.to().emit("typing", "x")
                with pytest.raises(ValueError, match="'said' is not int"):
                    await app.to(path="/t/acme").emit("said", right)
            await app.to(path="/t/acme").emit("said", 5)


async def test_debug_mode_checks_replies(caplog: pytest.LogCaptureFixture) -> None:
    """A reply that is not as the handler says is `internal`, and logged."""
    for debug in (True, False):
        app = WSRoom(debug=debug)

        @app.on("give")
        async def give(emitter: Emitter, message: Any) -> Said:
            given: Said = message
            return given

        @app.on("any")
        async def give_any(emitter: Emitter, message: Any) -> Any:
            return message

        async with TestClient(app) as client:
            a = await client.connect()
            right = {"from": "ada", "text": ""}
            assert await a.request("give", right) == right
            assert await a.request("any", 5) == 5
            if debug:
                detail = "the reply to 'give' is not Said, as declared: message is not object"
                with pytest.raises(Refused, match=f"internal: ValueError: {detail}"):
                    await a.request("give", 5)
                assert "the handler of 'give' on /ws raised" in caplog.text
            else:
                assert await a.request("give", 5) == 5


async def test_debug_mode_warns_about_what_is_not_declared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once for each event and each code, and only if a path, or a handler, declares any."""
    app = WSRoom(debug=True)
    app.emits("said", Said)

    @app.on("say", raises={"muted": "You may not speak here."})
    @app.on("shout")
    async def say(emitter: Emitter, message: str) -> None:
        await emitter.emit("heard", message)
        await app.to(path="/other").emit("heard", message)
        raise Reject("no", code=message)

    app.add_handler("say", say, path="/other")
    async with TestClient(app) as client:
        a = await client.connect()
        for event in ("say", "say", "shout"):
            for code in ("muted", "banned"):
                with pytest.raises(Refused, match=f"{code}: no"):
                    await a.request(event, code)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == [
        "'heard' is emitted on /ws, but not declared; declare it with app.emits('heard', ...)",
        "the handler of 'say' on /ws rejects with 'banned', which its raises= does not have",
    ]


def recorded(router: Router, path: str = "/ws") -> dict[str, tuple[Any, str]]:
    found = router.find(path)
    assert found is not None
    return {
        event: (declared.message and declared.message.annotation, declared.doc)
        for event, declared in found[0].emits.items()
    }


def test_emits_are_declared_on_apps_routers_and_controllers() -> None:
    """Each on its own path, and kept when it is included."""
    app, router = WSRoom(), Router(path="/chat")
    app.emits("said", Said, doc="Somebody said something.")
    app.emits("typing")
    app.emits("anything", object, path="/chat")
    router.emits("said", str)

    class Board(Controller):
        path = "/board"

        def __init__(self) -> None:
            self.emits("moved", Move, doc="A card was moved.")

        @on("move", raises={"no_card": "There is no such card."})
        async def move(self, emitter: Emitter, message: Move) -> None:
            """Move a card."""

    board = Board()
    board.emits("gone", int)
    app.include(router, board)
    assert recorded(app) == {
        "said": (Said, "Somebody said something."),
        "typing": (None, ""),
    }
    assert recorded(app, "/chat") == {"anything": (None, ""), "said": (str, "")}
    assert recorded(app, "/board") == {"moved": (Move, "A card was moved."), "gone": (int, "")}
    found = app.find("/board")
    assert found is not None
    move = found[0].handlers["move"].declared
    assert move.raises == {"no_card": "There is no such card."} and move.doc == "Move a card."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("said", int), "'said' is declared on '/ws' as str and as int; declare one type"),
        (("said", object), "'said' is declared on '/ws' as str and as object"),
        (("reply", str), "event 'reply' is part of the protocol"),
        (("x" * 65, str), "is longer than 64 characters"),
        ((str, "said"), r'is not a string; write app.emits\("said", str\)'),
        (("other", type), "the message of 'other' cannot be checked"),
        (("other", Say | Move), "the message of 'other' has types of pydantic and of msgspec"),
    ],
)
def test_wrong_declarations_are_refused(arguments: Any, sentence: str) -> None:
    """With a sentence, at once."""
    app = WSRoom()
    app.emits("said", str)
    app.emits("said", str, doc="It was said.")
    app.emits("said", str)
    assert recorded(app) == {"said": (str, "It was said.")}
    with pytest.raises(SetupError, match=sentence):
        app.emits(*arguments)
    with pytest.raises(SetupError, match="doc of 'other' is 5; use a string"):
        app.emits("other", doc=5)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match="'\\*' is for hooks and middleware only"):
        app.emits("other", path="*")


def test_the_names_of_included_events_are_checked_by_the_app() -> None:
    """A router knows no limits."""
    router = Router()
    router.emits("x" * 65)
    with pytest.raises(SetupError, match="is longer than 64 characters"):
        WSRoom().include(router)
