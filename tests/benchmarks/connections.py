"""Connections by hand, for what is measured one message at a time: a member's, and Redis's."""

from __future__ import annotations

import json
import socket
from typing import Any, Self

TIMEOUT = 60
MASK = b"\x12\x34\x56\x78"


def connect(port: int, buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(10)
    try:
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def open_websocket(port: int, target: str, buffer: int | None = None) -> socket.socket:
    """Open a WebSocket, and read no more than the handshake.

    Raises:
        OSError: there is none.

    """
    connection = connect(port, buffer)
    request = (
        f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    connection.sendall(request.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the handshake may be here already, and is not ours to take.
        answer += (byte := connection.recv(1))
        if not byte or not b"HTTP/1.1 101".startswith(answer[:12]):
            connection.close()
            raise ConnectionError(f"no WebSocket at {target}")
    return connection


class _Connection:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(TIMEOUT)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _fill(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data


class Member(_Connection):
    """A member of a wsroom app; frames of up to 64 KiB, as the app's answers are."""

    def send(self, event: str, message: Any = None, id: int | None = None) -> None:
        frame = {"event": event, "message": message, **({} if id is None else {"id": id})}
        data = json.dumps(frame).encode()
        masked = bytes(byte ^ MASK[index & 3] for index, byte in enumerate(data))
        head = b"\x81\xfe" + len(data).to_bytes(2, "big") + MASK
        self._socket.sendall(head + masked)

    def receive(self) -> bytes:
        """Return the next text; pings are not answered, as nothing here lasts so long."""
        while True:
            data = self._buffer
            start = 4 if len(data) > 1 and data[1] == 126 else 2
            size = 0
            if len(data) >= start:
                size = int.from_bytes(data[2:4], "big") if start == 4 else data[1]
            if len(data) >= start and len(data) >= start + size:
                self._buffer = data[start + size :]
                if data[0] == 0x81:
                    return data[start : start + size]
            else:
                self._fill()

    def ask(self, event: str, message: Any = None) -> Any:
        """Send a frame and return the answer to it."""
        self.send(event, message, id=1)
        return self.answer()

    def answer(self) -> Any:
        while True:
            frame = json.loads(self.receive())
            if frame.get("id") == 1:
                if frame["event"] != "reply":
                    raise ConnectionError(f"{frame['event']}: {frame['message']}")
                return frame["message"]


class Redis(_Connection):
    """A connection to Redis that does nothing which could take time of its own."""

    def __init__(self, port: int) -> None:
        super().__init__(connect(port))

    def send(self, commands: bytes) -> None:
        self._socket.sendall(commands)

    def receive(self, end: bytes, count: int = 1) -> bytes:
        """Return what came, once `end` has come `count` times; nothing more may be under way."""
        while self._buffer.count(end) < count:
            self._fill()
        data, self._buffer = self._buffer, b""
        return data

    def ask(self, *words: str) -> str:
        """Send a command whose answer is one bulk string."""
        self.send(pack(*words))
        while b"\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n")
        size = int(head[1:])
        while len(self._buffer) < size + 2:
            self._fill()
        data, self._buffer = self._buffer[:size], b""
        return data.decode()

    def cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        lines = self.ask("INFO", "cpu").splitlines()
        values = dict(line.split(":") for line in lines if ":" in line)
        return float(values["used_cpu_sys"]) + float(values["used_cpu_user"])


def pack(*words: str) -> bytes:
    """A command as Redis reads it."""
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return "".join(parts).encode()
