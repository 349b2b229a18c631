"""Scenarios of the way in: what a message costs that goes to few, and what a connect costs.

Each is measured in short slices, in which the peers take turns.
"""

from __future__ import annotations

import zlib

from tests.benchmarks.servers import Results, Server

ECHO = "echo"
ECHO_DEFLATE = "echo, compressed"
SMALL_ROOMS = "rooms of 4, saturated"
PACED_ROOMS = "rooms of 4, paced"
CONNECTS = "connects"

TURNS = 5
TALKERS = 100
PLAYERS = 1000
PACE = 8000
CONNECTING = 1000

MESSAGE_CPU, MESSAGES = "cpu_us_per_message", "messages_per_s"
CONNECT_CPU, CONNECTS_PER_S = "connect_cpu_us", "connect_per_s"


def a_slice(seconds: str, least: float = 0.5) -> str:
    return f"{max(float(seconds) / TURNS, least):g}"


def echo(server: Server, seconds: str) -> Results:
    load = ("--clients", str(TALKERS), *server.peer.load("echo"))
    for _ in range(TURNS):
        yield ECHO, server.measure("--mode", "echo", "--duration", a_slice(seconds), *load)


def echo_deflate(server: Server, seconds: str) -> Results:
    load = ["--clients", str(TALKERS), *server.peer.load("echo"), "--deflate", "--zframe"]
    load.append(deflated(server.peer.frame("echo", "hello")).hex())
    for _ in range(TURNS):
        yield ECHO_DEFLATE, server.measure("--mode", "echo", "--duration", a_slice(seconds), *load)


def deflated(text: str) -> bytes:
    """Deflate a message so that it does not depend on earlier ones (RFC 7692, 7.2.1)."""
    deflate = zlib.compressobj(wbits=-12)
    return (deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def small_rooms(server: Server, seconds: str) -> Results:
    """Slices are so long that the slowest peer answers all clients' moves in one."""
    load = ["--duration", a_slice(seconds, least=1), *server.peer.small_rooms()]
    for _ in range(TURNS):
        yield SMALL_ROOMS, server.measure("--mode", "rooms", "--clients", str(PLAYERS), *load)


def paced_rooms(server: Server, seconds: str) -> Results:
    load = ("--clients", str(PLAYERS), "--rate", str(PACE), *server.peer.small_rooms())
    for _ in range(TURNS):
        yield PACED_ROOMS, server.measure("--mode", "rooms", "--duration", a_slice(seconds), *load)


def connects(server: Server, seconds: str) -> Results:
    """Connect, and disconnect all: the server has settled before the next turn."""
    load = ("--clients", str(CONNECTING), *server.peer.connecting())
    for _ in range(TURNS):
        yield CONNECTS, server.measure("--mode", "idle", "--duration", "0", *load)
