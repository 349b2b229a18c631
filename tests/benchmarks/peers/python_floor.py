"""The C floor's twin in Python: one `os.write` for each delivery, and nothing else.

It knows only wsload's handshake key, frames of up to 125 bytes, and receivers that keep up: what a
server in pure Python can at most be. Usage: python python_floor.py PORT
"""

import os
import select
import socket
import sys
from collections.abc import Iterable

UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
listener.setblocking(False)
poll = select.epoll()
poll.register(listener, select.EPOLLIN)
connections: dict[int, socket.socket] = {}
members: dict[int, None] = {}  # in their order


def accept() -> None:
    connection, _ = listener.accept()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connections[connection.fileno()] = connection
    poll.register(connection, select.EPOLLIN)


def read(number: int) -> bytes:
    try:
        return connections[number].recv(1 << 16)
    except ConnectionError:
        return b""


def leave(number: int) -> None:
    poll.unregister(number)
    connections.pop(number).close()
    members.pop(number, None)


def unmask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = data[1] & 127
        found.append(bytes((0x81, size)) + unmask(data[6 : 6 + size], data[2:6]))
        data = data[6 + size :]
    return found


def write(frame: bytes, receivers: Iterable[int]) -> None:
    for receiver in receivers:
        try:
            os.write(receiver, frame)
        except OSError:  # it is gone, as is found when it is read
            continue


while True:
    for number, _ in poll.poll():
        if number == listener.fileno():
            accept()
        elif not (data := read(number)):
            leave(number)
        elif number not in members:
            members[number] = None
            os.write(number, UPGRADE)
        else:
            for frame in frames(data):
                write(frame, [number] if b'"echo"' in frame else members)
