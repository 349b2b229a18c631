"""Reading a handler's signature: which annotations are resolved, and where their names are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from wsroom import Controller, Emitter, Router, SetupError, on
from wsroom.schema.declared import ClientEvent

if TYPE_CHECKING:
    from elsewhere import ForTypeCheckers  # type: ignore[import-not-found]


def declared(function: Callable[..., Any], **options: Any) -> ClientEvent:
    router = Router()
    router.add_handler("say", function, **options)
    found = router.find("/ws")
    assert found is not None
    return found[0].handlers["say"].declared


def types_of(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The types of the message and of the reply; `...` for none."""
    event = declared(function)
    return (
        ... if event.message is None else event.message.annotation,
        ... if event.reply is None else event.reply.annotation,
    )


async def typed(emitter: Emitter, message: list[int]) -> str:
    """Say it.

    All of it.
    """
    return str(message)


async def untyped(emitter, message): ...  # type: ignore[no-untyped-def]
async def anything(emitter: Emitter, message: Any) -> object: ...
async def no_message(emitter: Emitter) -> int:
    return 1


async def of_strangers(emitter: ForTypeCheckers, message: str) -> None: ...
async def more(emitter: Emitter, message: str = "", *, times: ForTypeCheckers = 1) -> None: ...
async def otherwise_named(emitter: Emitter, room: str) -> None: ...
async def rest(emitter: Emitter, *messages: int) -> None: ...
async def quoted(emitter: Emitter, message: "list['int']") -> "None": ...  # noqa: UP037
async def third(room: str, emitter: Emitter, message: float) -> bool:
    return True


def blocking(emitter: Any, message: int) -> int:
    return message


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        return await function(*args)

    return wrapper


class Callable_:
    async def __call__(self, emitter: Emitter, message: bool) -> None: ...

    async def method(self, emitter: Emitter, message: str | None) -> None: ...

    @staticmethod
    async def static(emitter: Emitter, message: dict[str, int]) -> None: ...

    @classmethod
    async def of_class(cls, emitter: Emitter, message: tuple[int, ...]) -> None: ...


@pytest.mark.parametrize(
    ("function", "message", "reply"),
    [
        (typed, list[int], str),
        (untyped, ..., ...),
        (anything, ..., ...),
        (no_message, ..., int),
        (of_strangers, str, type(None)),
        (more, str, type(None)),
        (otherwise_named, str, type(None)),
        (rest, int, type(None)),
        (quoted, list[int], type(None)),
        (blocking, int, int),
        (lambda emitter, message: None, ..., ...),
        (functools.partial(third, "chat"), float, bool),
        (functools.partial(functools.partial(third, "chat")), float, bool),
        (decorated(typed), list[int], str),
        (decorated(functools.partial(third, "chat")), float, bool),
        (functools.partial(decorated(third), "chat"), float, bool),
        (Callable_(), bool, type(None)),
        (Callable_().method, str | None, type(None)),
        (decorated(Callable_().method), str | None, type(None)),
        (Callable_.static, dict[str, int], type(None)),
        (Callable_.of_class, tuple[int, ...], type(None)),
    ],
)
def test_the_message_and_the_reply_are_read(
    function: Callable[..., Any], message: Any, reply: Any
) -> None:
    """Of functions of every form; no other annotation is evaluated."""
    assert types_of(function) == (message, reply)


def test_classes_of_a_function_are_found() -> None:
    """Also with `from __future__ import annotations`, which this file has."""
    from pydantic import BaseModel

    class Say(BaseModel):
        text: str

    async def say(emitter: Emitter, message: Say) -> list[Say]:
        return [message]

    assert types_of(say) == (Say, list[Say])

    def inside() -> None:
        async def again(emitter: Emitter, message: Say | None) -> None: ...

        assert types_of(again) == (Say | None, type(None))

    inside()

    class Chat(Controller):
        @on("say")
        async def say(self, emitter: Emitter, message: Say) -> None: ...

    router = Router()
    router.include(Chat())
    found = router.find("/ws")
    assert found is not None
    schema = found[0].handlers["say"].declared.message
    assert schema is not None and schema.annotation is Say


Shadowed = int


def test_variables_of_other_functions_are_not_looked_at() -> None:
    """Only of those in which the function is defined: the rest of the stack is the app's own."""

    def register(function: Callable[..., Any]) -> ClientEvent:
        Shadowed = list  # noqa: F841
        return declared(function)

    schema = register(of_module).message
    assert schema is not None and schema.annotation is int


async def of_module(emitter: Emitter, message: Shadowed) -> None: ...


def test_a_router_that_is_included_keeps_what_was_read() -> None:
    """Where it is included, the names may mean nothing."""

    def register() -> Router:
        class Say:
            pass

        router = Router()

        async def say(emitter: Emitter, message: list[str]) -> None: ...

        router.add_handler("say", say, raises={"muted": "Not now."})
        router.emits("said", str, doc="It was said.")
        return router

    outer = Router()
    outer.include(register())
    found = outer.find("/ws")
    assert found is not None
    event = found[0].handlers["say"].declared
    assert event.message is not None and event.message.annotation == list[str]
    assert event.raises == {"muted": "Not now."}
    assert found[0].emits["said"].doc == "It was said."


def test_a_name_that_is_nowhere_is_a_setup_error() -> None:
    """The sentence names the function, the annotation, and what to do."""

    async def say(emitter: Emitter, message: ForTypeCheckers) -> None: ...
    async def answer(emitter: Emitter) -> ForTypeCheckers: ...

    sentence = (
        r"the annotation 'ForTypeCheckers' of {} in .*{}\(\) cannot be resolved: name "
        r"'ForTypeCheckers' is not defined; import .* not under \"if TYPE_CHECKING\""
    )
    with pytest.raises(SetupError, match=sentence.format("message", "say")):
        Router().add_handler("say", say)
    with pytest.raises(SetupError, match=sentence.format("the return value", "answer")):
        Router().add_handler("answer", answer)


def test_a_type_that_cannot_be_checked_names_the_function() -> None:
    """Of the message, and of the reply."""

    async def say(emitter: Emitter, message: type) -> None: ...
    async def answer(emitter: Emitter) -> Callable[[], None]:
        return lambda: None

    with pytest.raises(SetupError, match=r"the message of .*say\(\) cannot be checked"):
        Router().add_handler("say", say)
    with pytest.raises(SetupError, match=r"the return value of .*answer\(\) cannot be checked"):
        Router().add_handler("answer", answer)


def test_what_is_recorded_for_documents() -> None:
    """The docstring without its indentation, and the codes of errors, which do not change."""
    raises = {"muted": "You may not speak here."}
    event = declared(typed, raises=raises)
    raises.clear()
    assert event.doc == "Say it.\n\nAll of it."
    assert event.raises == {"muted": "You may not speak here."}
    assert declared(functools.partial(typed)).doc == event.doc
    assert declared(untyped).doc == "" and declared(untyped).raises == {}


@pytest.mark.parametrize(
    "raises", [["muted"], {"": "x"}, {"x" * 65: "x"}, {"muted": None}, {5: "x"}, "muted"]
)
def test_codes_and_sentences_are_checked(raises: Any) -> None:
    """A code is as in `Reject`."""
    with pytest.raises(SetupError, match="raises "):
        Router().on("say", raises=raises)(typed)
