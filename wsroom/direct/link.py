"""The fast way in: reading a connection's frames from its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wsroom.direct import server as uvicorn
from wsroom.direct.frame_queue import FrameQueue
from wsroom.direct.frames import DEFLATED, INVALID, PONG, TEXT, Cutter
from wsroom.direct.keepalive import Keepalive
from wsroom.direct.peer_state import is_gone
from wsroom.stats import Counters

CHECK_INTERVAL = 1.0
"""Seconds between two checks whether a client that is not read from is gone."""
MOST_FRAMES = 64
"""Frames of one client that are read before others have their turn..."""
MOST_TIME = 0.005
"""...and the seconds that this may take."""


class Link(FrameQueue, asyncio.Protocol):
    """Reads the frames of one connection, in place of the server's protocol object.

    Whole text messages are decoded here, without a task switch, a generator or a pause for each.
    Everything else goes, whole, to the server's own parser, whose state stays right: pings, close
    frames, fragments, what is invalid. What that parser makes of it comes back through
    `put_nowait`, in order. It is a source of a connection, like `Inbox`.

    It must be made in the task of the connection.

    Args:
        server: uvicorn's protocol object, for which `misfit` has returned None.
        frame_size: the most bytes of a frame; longer ones go to the server's parser.
        many_pongs: called after frames that the server may have answered by itself; returns
            whether so much is unsent that nothing more may be read for now.
        keepalive: pings the client, in place of the server; None for no pings.
        deflate_context: whether the client may deflate messages with the context of earlier ones.
        counters: where the bytes that are read are counted.

    """

    __slots__ = (
        "_check",
        "_clean",
        "_counters",
        "_cutter",
        "_handed_over",
        "_inflater",
        "_keepalive",
        "_loop",
        "_many_pongs",
        "_parsing",
        "_paused",
        "_receiving",
        "_scheduled",
        "_server",
        "_transport",
        "left",
        "ping",
        "slot",
    )

    def __init__(
        self,
        server: Any,
        frame_size: int,
        many_pongs: Callable[[], bool],
        keepalive: Keepalive | None,
        deflate_context: bool,
        counters: Counters,
    ) -> None:
        super().__init__()
        self._counters = counters
        self.slot: int | None = None
        self.ping: bytes | None = None
        self.left: int | None = None
        self._keepalive = keepalive
        self._server = server
        self._transport = server.transport
        self._loop = asyncio.get_running_loop()
        self._many_pongs = many_pongs
        if not deflate_context:
            uvicorn.forbid_context(server)
        self._inflater = uvicorn.Inflater.of(server)
        longest = uvicorn.longest_message(server)
        self._cutter = Cutter(
            frame_size if longest is None else min(frame_size, longest),
            self._inflater is not None,
            uvicorn.unmask_function(),
        )
        self._clean = True  # the next byte is the first of a message
        self._paused = False  # reading, until no frame waits
        self._scheduled = False  # `_continue` will be called; until then reading pauses
        self._receiving = False  # within `data_received`
        self._parsing = False  # the server's parser may be awake
        self._handed_over = False  # everything goes to the server from now on
        self._check: asyncio.TimerHandle | None = None  # whether the client is gone
        uvicorn.take_over(server, self)

    def accepted(self) -> None:
        """The handshake is done: let go of what only it needed."""
        uvicorn.slim(self._server)
        if self._clean:
            uvicorn.let_parser_rest(self._server)
        else:
            self._parsing = True
        if self._keepalive is not None and not self._ended:
            self._keepalive.add(self)

    # -- pausing -----------------------------------------------------------------------------

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._pause_reading()
            self._check_later()
            if self._keepalive is not None:
                self._keepalive.hold(self)

    def _check_later(self) -> None:
        self._check = self._loop.call_later(CHECK_INTERVAL, self._check_paused)

    def _check_paused(self) -> None:
        # Without reading, nothing else notices that the client is gone until the app's code ends.
        self._check = None
        if self._paused and not self._ended:
            if self._on_disconnect is not None and is_gone(self._transport):
                self._on_disconnect(1006)
            else:
                self._check_later()

    def _pause_reading(self) -> None:
        if not self._transport.is_closing():  # uvloop raises if it was closed
            self._transport.pause_reading()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            if self._check is not None:
                self._check.cancel()
                self._check = None
            if self._keepalive is not None:
                self._keepalive.resume(self)
            self._continue_soon()

    def _continue_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._scheduled = False
        if not self._transport.is_closing():  # uvloop raises if it was closed
            self._transport.resume_reading()
            self._read()

    # -- what a keepalive needs ------------------------------------------------------------

    def send_ping(self, frame: bytes) -> bool:
        """Send a frame; return whether the connection is open."""
        is_open = not (self._transport.is_closing() or uvicorn.is_over(self._server))
        if is_open:
            self._transport.write(frame)
        return is_open

    def ping_timeout(self) -> None:
        """Close the connection: its peer has not answered."""
        self._server.keepalive_timeout()

    # -- what the server has for the app: an asyncio.Queue, as far as it is used -------------

    def put_nowait(self, message: Any) -> None:
        """Take a message that the server has parsed, or the end."""
        if message["type"] == "websocket.receive":
            text: str | None = message.get("text")
            self._deliver((message.get("bytes") or b"") if text is None else text)
        elif message["type"] == "websocket.disconnect" and not self._ended:
            if self._keepalive is not None:
                self._keepalive.remove(self)
            # Reset, closed by us, or the server stops. After a clean close of the peer the frames
            # before it are still handled.
            drop = not self._receiving
            self._end(message.get("code") or 1005, drop)  # 1005: RFC 6455, section 7.1.5

    def empty(self) -> bool:
        """Return True: nothing of it waits in the server."""
        return True

    async def get(self) -> Any:
        """Never called: `receive` of this connection has another source."""
        raise RuntimeError("the frames of this connection are read by its link")

    # -- asyncio.Protocol --------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self._counters.bytes_in += size
        # Nearly always it is one whole short text message.
        if 6 < size < 132 and data[0] == TEXT and data[1] == size + 122 and self._clean:
            self._text(self._cutter.unmask(data[6:], data[2:6]))
            return
        if self._handed_over:
            self._server.data_received(data)
            return
        self._cutter.feed(data)
        if not self._scheduled:
            self._read()

    def _read(self) -> None:
        self._receiving = True
        try:
            self._read_pieces()
        finally:
            self._receiving = False
            self._clean = self._cutter.clean and not self._handed_over
            if self._parsing and self._clean:
                self._parsing = False
                uvicorn.let_parser_rest(self._server)

    def _read_pieces(self) -> None:
        deadline = self._loop.time() + MOST_TIME
        for count in range(MOST_FRAMES):
            piece = self._cutter.next()
            if piece is None:
                return
            kind, data = piece
            if kind == TEXT:
                self._text(data)
            elif kind == DEFLATED:
                self._inflate(data)
            elif not self._is_answer(data):
                self._handed_over = kind == INVALID
                self._give_to_server(data)
            if self._handed_over or self._paused:
                break
            if count % 8 == 7 and self._loop.time() > deadline:
                break
        if not (self._handed_over or self._paused):
            self._pause_reading()
            self._continue_soon()

    def _is_answer(self, data: bytes) -> bool:
        # Whether it is the pong for our ping, which the server knows nothing of.
        if self.ping is None or data[0] != PONG or len(data) != len(self.ping) + 6:
            return False
        assert self._keepalive is not None
        return self._keepalive.answered(self, self._cutter.unmask(data[6:], data[2:6]))

    def _give_to_server(self, data: bytes) -> None:
        if self._inflater is not None and data[0] & 0x40:  # RSV1, if a frame begins here
            self._inflater.prepare()
        self._parsing = True
        self._server.data_received(data)
        if self._many_pongs():
            self._pause()  # until `resume_writing`, or until it is closed

    def _text(self, data: bytes) -> None:
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self._fail(1007, "")
        else:
            self._deliver(text)

    def _inflate(self, data: bytes) -> None:
        assert self._inflater is not None
        if self._dropping and uvicorn.is_over(self._server):
            return
        try:
            payload = self._inflater.inflate(data)
        except ValueError:
            self._fail(1002, "decompression failed")
        except OverflowError:
            self._fail(1009, "the message is too large")
        else:
            # A part of a message is refused by its length: half a character at its end is dropped.
            cut = len(payload) > uvicorn.MOST_INFLATED
            self._text(payload.decode(errors="ignore").encode() if cut else payload)

    def _fail(self, code: int, reason: str) -> None:
        if not uvicorn.is_over(self._server):
            receiving, self._receiving = self._receiving, True  # frames before it are handled
            uvicorn.fail(self._server, code, reason)
            self._receiving = receiving
        self._handed_over = True
        self._clean = False

    def pause_writing(self) -> None:
        uvicorn.pause_writing(self._server)

    def resume_writing(self) -> None:
        self._server.resume_writing()
        if not self._frames:
            self._unpause()

    def eof_received(self) -> bool | None:
        answer: bool | None = self._server.eof_received()
        return answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connection_lost(exc)
