"""What is measured, with whom."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import inbound, joined
from tests.benchmarks.peer import (
    ALL,
    ALL_JOINED,
    EMITTING,
    FLOOR,
    NODE_SOCKETIO,
    NODE_WS,
    NODE_WS_DEFLATE,
    PICOWS,
    RAW_ASGI,
    REDIS_PING,
    REDIS_PIPELINED,
    REDIS_PUBLISH,
    SOCKETIFY,
    SOCKETIO,
    STARLETTE,
    WITHOUT_HISTORY,
    WSROOM,
    Peer,
)
from tests.benchmarks.servers import Figures, Results, Server, medians

MEMBERS = 500
MEMBERS_JOINED = 200
TALKERS = 100
IDLE = 10_000
OTHER_ROOMS = 10_000
ROOMS_EACH = 10
SPARE_FILES = 200
TURNS = 5

FANOUT = {window: f"fan-out, {window} in flight" for window in (1, 16, 64)}
JOINED = {window: f"two workers and Redis, {window} in flight" for window in (1, 8)}
JOINED_TALK = "two workers and Redis, 8 senders"
HISTORY = {window: f"with and without history, {window} in flight" for window in (1, 64)}
PLAIN_1K = "1 KB, no deflate"
DEFLATE_1K = "1 KB, deflate"
IDLE_SOCKETS = "idle connections"
IDLE_DEFLATE = "idle connections, deflate"
ROOM_ALONE = "a room of 100, alone"
ROOM_AMONG = "a room of 100, among 10,000"
MEMBERSHIP = "joins and leaves"
NO_SLOW = "9 kB to 100, all read"
SLOW = "9 kB to 100, a member never reads"

# About as compressible as people's messages: words, no two messages alike (wsload's number).
WORDS = (
    "the room is full of people who talk at once and nobody waits for the slow ones "
    "because a message that comes late is worse than one that was never sent at all "
)
KILOBYTE = ("######## " + WORDS * 8)[:1100]
# So large that the buffers of who does not read are soon full.
LARGE = KILOBYTE * 8

CPU, RATE, P50, P99 = "cpu_us_per_delivery", "per_s", "p50_us", "p99_us"
MEMORY = "rss_per_client_kb"


@dataclass(frozen=True)
class Group:
    """Scenarios that one start of a server is enough for."""

    names: tuple[str, ...]
    peers: tuple[Peer, ...]
    run: Callable[[Server, str], Results]
    turns: int = 1
    """How often `run` gives the figures of each name; those of a round are the medians."""


def open_files() -> int:
    """Raise the limit of open files as far as is allowed; return the idle sockets it is for."""
    wanted = IDLE + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard - SPARE_FILES
    elif soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return IDLE


def fanouts(server: Server, seconds: str) -> Results:
    for window, name in FANOUT.items():
        yield name, fanout(server, seconds, MEMBERS, window, server.peer.load("noti"))


def fanout(server: Server, seconds: str, clients: int, window: int, load: list[str]) -> Figures:
    sizes = ("--clients", str(clients), "--window", str(window))
    return server.measure("--mode", "fanout", "--duration", seconds, *sizes, *load)


def plain(server: Server, seconds: str) -> Results:
    load = server.peer.load("noti", KILOBYTE)
    yield PLAIN_1K, fanout(server, seconds, MEMBERS, 1, load)


def deflated(server: Server, seconds: str) -> Results:
    load = [*server.peer.load("noti", KILOBYTE), "--deflate"]
    yield DEFLATE_1K, fanout(server, seconds, MEMBERS, 1, load)


def idle(server: Server, seconds: str) -> Results:
    yield IDLE_SOCKETS, server.measure("--mode", "idle", *crowd(server))


def idle_deflate(server: Server, seconds: str) -> Results:
    yield IDLE_DEFLATE, server.measure("--mode", "idle", "--deflate", *crowd(server))


def crowd(server: Server) -> list[str]:
    return ["--duration", "0", "--clients", str(open_files()), *server.peer.connecting()]


def rooms(server: Server, seconds: str) -> Results:
    load = server.peer.load("noti")
    yield ROOM_ALONE, fanout(server, seconds, TALKERS, 1, load)
    with server.crowd(OTHER_ROOMS // ROOMS_EACH, f"/ws?others={ROOMS_EACH}"):
        yield ROOM_AMONG, fanout(server, seconds, TALKERS, 1, load)


def membership(server: Server, seconds: str) -> Results:
    clients = ("--clients", str(TALKERS))
    load = server.peer.membership()
    yield MEMBERSHIP, server.measure("--mode", "echo", "--duration", seconds, *clients, *load)


def slow(server: Server, seconds: str) -> Results:
    """In turns, so that what else happens on the machine happens to both."""
    load = server.peer.load("noti", LARGE)
    # Long enough that the buffers of who never reads are full for most of the time.
    load += ["--warmup", "1"]
    turn = str(max(float(seconds) / 2, 1))
    turns: dict[str, list[Figures]] = {NO_SLOW: [], SLOW: []}
    for _ in range(TURNS):
        turns[NO_SLOW].append(fanout(server, turn, TALKERS, 1, load))
        with server.never_readers("/ws"):
            turns[SLOW].append(fanout(server, turn, TALKERS, 1, load))
    for name, figures in turns.items():
        yield name, medians(figures)


def history(server: Server, seconds: str) -> Results:
    load = server.peer.load("noti")
    for window, name in HISTORY.items():
        yield name, fanout(server, seconds, MEMBERS, window, load)


def through_redis(server: Server, seconds: str) -> Results:
    load = server.peer.load("noti")
    for window, name in JOINED.items():
        yield name, fanout(server, seconds, MEMBERS_JOINED, window, load)
    load += ["--senders", "8"]
    yield JOINED_TALK, fanout(server, seconds, MEMBERS_JOINED, 8, load)


# Those that can make so many moves a second as the pace is.
IN_ROOMS = (FLOOR, SOCKETIFY, WSROOM, PICOWS, RAW_ASGI, NODE_WS, NODE_SOCKETIO)
CONNECTED = (SOCKETIFY, WSROOM, PICOWS, RAW_ASGI, NODE_WS, STARLETTE, SOCKETIO)

GROUPS = (
    Group(tuple(FANOUT.values()), ALL, fanouts),
    Group((inbound.ECHO,), ALL, inbound.echo, inbound.TURNS),
    Group(
        (inbound.ECHO_DEFLATE,),
        (WSROOM, RAW_ASGI, NODE_WS_DEFLATE),
        inbound.echo_deflate,
        inbound.TURNS,
    ),
    Group((inbound.SMALL_ROOMS,), (*IN_ROOMS, SOCKETIO), inbound.small_rooms, inbound.TURNS),
    Group((inbound.PACED_ROOMS,), IN_ROOMS, inbound.paced_rooms, inbound.TURNS),
    Group((inbound.CONNECTS,), CONNECTED, inbound.connects, inbound.TURNS),
    Group((PLAIN_1K,), (WSROOM, RAW_ASGI, NODE_WS), plain),
    Group((DEFLATE_1K,), (WSROOM, RAW_ASGI, NODE_WS_DEFLATE), deflated),
    Group((IDLE_SOCKETS,), (WSROOM, RAW_ASGI, NODE_WS), idle),
    Group((IDLE_DEFLATE,), (WSROOM, RAW_ASGI, NODE_WS_DEFLATE), idle_deflate),
    Group((ROOM_ALONE, ROOM_AMONG), (WSROOM,), rooms),
    Group((MEMBERSHIP,), (WSROOM, SOCKETIO, NODE_SOCKETIO), membership),
    Group((NO_SLOW, SLOW), (WSROOM, RAW_ASGI, NODE_WS), slow),
    Group(tuple(HISTORY.values()), (WSROOM, WITHOUT_HISTORY), history),
    Group((*JOINED.values(), JOINED_TALK), ALL_JOINED, through_redis),
    Group((joined.EMITS,), (EMITTING, REDIS_PIPELINED), joined.emits),
    Group((joined.UNINVOLVED,), (EMITTING,), joined.uninvolved),
    Group((joined.ACROSS,), (EMITTING, REDIS_PING, REDIS_PUBLISH), joined.across),
)
