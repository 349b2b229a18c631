# A kanban board: FastAPI, logins with JWT, cards in a database, a chat. Its page is page.html.
# Run it with: pip install fastapi pyjwt sqlalchemy; uvicorn --app-dir examples/board app:app
# Open http://127.0.0.1:8000 as ada (password lovelace) and as bob (password builder).
#
# With several workers it also needs WSROOM_REDIS_URL, and a key that all workers have: BOARD_KEY.
# With BOARD_DEBUG=1 it compares what it sends with what it declares.

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from wsroom import BlockingEmitter, BlockingSocket, Emitter, Reject, Socket, WSRoom

PASSWORDS = {"ada": "lovelace", "bob": "builder"}  # a real app stores hashes
MEMBERS = {"work": {"ada", "bob"}, "home": {"ada"}}
KEY = os.environ.get("BOARD_KEY") or secrets.token_hex()  # logins end with the process
LOGIN = timedelta(minutes=15)

# -- the database -------------------------------------------------------------------------------

engine = create_engine(os.environ.get("BOARD_DATABASE", "sqlite:///board.db"))


class Base(DeclarativeBase):
    pass


class Card(Base):
    __tablename__ = "cards"

    id: Mapped[int] = mapped_column(primary_key=True)
    board: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]
    column: Mapped[str] = mapped_column(default="todo")
    # Two workers may emit two changes of a card in another order than they wrote them: the page
    # keeps the one with the highest version.
    version: Mapped[int] = mapped_column(default=1)

    def shown(self) -> ShownCard:
        return ShownCard.model_validate(self)


Column = Literal["todo", "doing", "done"]


class ShownCard(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    column: Column
    version: int


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    with engine.begin() as connection:
        connection.execute(CreateTable(Card.__table__, if_not_exists=True))  # type: ignore[arg-type]
    yield
    engine.dispose()


# -- HTTP: the page, logins, and the cards ------------------------------------------------------

api = FastAPI(lifespan=lifespan)


class User(BaseModel):
    name: str
    expires: float  # seconds since the epoch


class Login(BaseModel):
    name: str
    password: str


def user_of(token: str) -> User:
    try:
        claims = jwt.decode(token, KEY, ["HS256"], options={"require": ["sub", "exp"]})
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Log in.") from None
    return User(name=claims["sub"], expires=claims["exp"])


def bearer(header: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> User:
    return user_of(header.credentials)


@api.get("/")
def page() -> HTMLResponse:
    return HTMLResponse(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


@api.post("/login")
def login(given: Login) -> dict[str, str]:
    right = PASSWORDS.get(given.name, "")
    if not right or not secrets.compare_digest(given.password.encode(), right.encode()):
        raise HTTPException(401, "This name and password do not match.")
    claims = {"sub": given.name, "exp": datetime.now(UTC) + LOGIN}
    return {"token": jwt.encode(claims, KEY, "HS256")}


@api.get("/boards/{board}/cards")
def cards(board: str, user: Annotated[User, Depends(bearer)]) -> list[ShownCard]:
    if user.name not in MEMBERS.get(board, ()):
        raise HTTPException(403, "This board is not yours.")
    with Session(engine) as session:
        found = session.scalars(select(Card).where(Card.board == board).order_by(Card.id))
        return [card.shown() for card in found]


# -- sockets ------------------------------------------------------------------------------------

app = WSRoom(http=api, debug=bool(os.environ.get("BOARD_DEBUG")))


@app.on_connect(path="*")
async def authenticate(socket: Socket[User]) -> User:
    try:
        return user_of(socket.query.get("token", ""))
    except HTTPException as exc:
        raise Reject(exc.detail, status=401) from None


@app.on_open()
async def end_with_login(emitter: Emitter[User]) -> None:
    socket = emitter.socket
    seconds = socket.user.expires - datetime.now(UTC).timestamp()
    timer = asyncio.get_running_loop().call_later(seconds, expire, socket)
    socket.state["timer"] = timer


def expire(socket: Socket[User]) -> None:
    socket.state["closing"] = asyncio.ensure_future(socket.close(4401, "The login has expired."))


@app.on_disconnect()
async def stop_timer(socket: Socket[User], code: int) -> None:
    if "timer" in socket.state:
        socket.state["timer"].cancel()


@app.on_join("board:{board}")
async def check_member(socket: Socket[User], room: str, board: str) -> None:
    if socket.user.name not in MEMBERS.get(board, ()):
        raise Reject("This board is not yours.")


# What clients send: wsroom checks it, because the handlers' annotations say so.
class OnBoard(BaseModel):
    board: str


class NewCard(OnBoard):
    text: str = Field(min_length=1, max_length=200)


class Move(OnBoard):
    card: int
    column: Column


class Say(OnBoard):
    text: str = Field(min_length=1, max_length=1000)


# What the board sends.
class Changed(ShownCard):
    by: str


class Said(BaseModel):
    by: str
    text: str


app.emits("card", Changed, doc="A card is new, or was moved.")
app.emits("said", Said, doc="Somebody said something in the chat of the board.")
app.emits("typing", str, doc="Somebody, this is the name, is typing.")

NOT_OPEN = {"not_open": "The socket is not in the room of the board."}


def room_of(message: OnBoard, socket: Socket[User] | BlockingSocket[User]) -> str:
    """Return the room of the board, which the socket must be in."""
    room = f"board:{message.board}"
    if room not in socket.rooms:
        raise Reject("Open the board first.", code="not_open")
    return room


# These two are `def`, because SQLAlchemy blocks: wsroom runs them in threads.
@app.on("add", raises=NOT_OPEN)
def add(emitter: BlockingEmitter[User], message: NewCard) -> int:
    """Add a card to the first column; the reply is its id."""
    room = room_of(message, emitter.socket)
    with Session(engine) as session, session.begin():
        session.add(card := Card(board=message.board, text=message.text))
        session.flush()
        shown = card.shown()
    changed = Changed(by=emitter.socket.user.name, **shown.model_dump())
    emitter.to(room).emit("card", changed)
    return shown.id


@app.on("move", raises={**NOT_OPEN, "not_found": "The board has no such card."})
def move(emitter: BlockingEmitter[User], message: Move) -> None:
    """Move a card into another column."""
    room = room_of(message, emitter.socket)
    with Session(engine) as session, session.begin():
        card = session.scalar(
            update(Card)
            .where(Card.id == message.card, Card.board == message.board)
            .values(column=message.column, version=Card.version + 1)
            .returning(Card)
        )
        if card is None:
            raise Reject("There is no such card.", code="not_found")
        shown = card.shown()
    changed = Changed(by=emitter.socket.user.name, **shown.model_dump())
    emitter.to(room).emit("card", changed)


@app.on("say", raises=NOT_OPEN)
async def say(emitter: Emitter[User], message: Say) -> None:
    """Say something in the chat of the board."""
    said = Said(by=emitter.socket.user.name, text=message.text)
    await emitter.to(room_of(message, emitter.socket)).emit("said", said)


@app.on("typing", raises=NOT_OPEN)
async def typing(emitter: Emitter[User], message: OnBoard) -> None:
    """Tell the others that the user is typing; it may be lost."""
    target = emitter.to(room_of(message, emitter.socket))
    await target.emit_except_sender("typing", emitter.socket.user.name, volatile=True)
