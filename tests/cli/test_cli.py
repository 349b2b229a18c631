"""The commands of `wsroom`, run in process and as programs."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

import wsroom
from tests.support import brokers
from tests.support.browsers import open_page
from tests.support.clock import SECOND, TICK
from tests.support.commands import run
from tests.support.peers import WAIT
from tests.support.servers import Program, program
from wsroom import Controller, SetupError, WSRoom
from wsroom.cli.apps import name_of_app
from wsroom.cli.scaffold import name_controller
from wsroom.client import RequestError
from wsroom.testing import TestClient


def load(file: Path) -> Any:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- create:controller -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [("-ws",), ("--path", "/chat"), ("-ws", "--path", "/t/{id}")])
async def test_create_controller_writes_a_class_that_works(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """With Dox's `-ws`, or without; the two lines that register it are printed and in the file."""
    said = await run("create:controller", "ChatRoomController", *options, cwd=tmp_path)
    file = tmp_path / "chat_room_controller.py"
    lines = (
        "from chat_room_controller import ChatRoomController",
        "app.include(ChatRoomController())",
    )
    for line in lines:
        assert line in said and f"\n{line}\n" in file.read_text()
    path = options[-1] if "--path" in options else "/ws"
    controller = load(file).ChatRoomController()
    assert isinstance(controller, Controller) and controller.path == path
    app = WSRoom()
    app.include(controller)
    async with TestClient(app) as client:
        a, b = [await client.connect(path.replace("{id}", "1")) for _ in range(2)]
        await a.join("chat")
        await b.emit("intro", "hi")
        assert await a.expect("intro") == "hi"


NAMES = {
    "ChatRoomController": ("ChatRoomController", "chat_room_controller"),
    "ChatRoom": ("ChatRoomController", "chat_room_controller"),
    "chat_room_controller": ("ChatRoomController", "chat_room_controller"),
    "chat": ("ChatController", "chat_controller"),
    "socketController": ("SocketController", "socket_controller"),
    "HTTPProxyController": ("HTTPProxyController", "http_proxy_controller"),
    "Room2": ("Room2Controller", "room2_controller"),
    "class": ("ClassController", "class_controller"),
}


@pytest.mark.parametrize("given", NAMES)
def test_names_of_controllers(given: str) -> None:
    """In Python's styles, from any style."""
    assert name_controller(given) == NAMES[given]


@pytest.mark.parametrize("given", ["", "9lives", "chat-room", "Chat Room", "../Chat", "Café", "_"])
def test_an_invalid_name_of_a_controller(given: str) -> None:
    """The error shows a valid name."""
    with pytest.raises(
        SetupError, match=r"is not a valid name of a class; use .* like ChatRoomController"
    ):
        name_controller(given)
    with pytest.raises(SetupError, match="names no subject"):
        name_controller("Controller")


# -- new and dev -----------------------------------------------------------------------------


async def served(dev: Program) -> str:
    line = await dev.line(" is at http://")
    await dev.line("Application startup complete")
    return line.partition(" is at ")[2].partition(",")[0]


async def test_a_new_project_runs_and_passes_as_it_is(browser: Browser, tmp_path: Path) -> None:
    """Its test passes under pytest; `wsroom dev` serves its page, where two people chat."""
    assert "now: cd demo && wsroom dev" in await run("new", "demo", cwd=tmp_path)
    project = tmp_path / "demo"
    files = {"README.md", "app.py", "page.html", "test_app.py"}
    assert {path.name for path in project.iterdir()} == files
    assert not any("{title}" in (project / file).read_text() for file in files)
    async with program("-m", "pytest", "-q", cwd=project) as tests:
        assert await tests.end(60) == 0, tests.output
    assert "1 passed" in tests.output
    assert " say " in await run("routes", "app:app", cwd=project)
    async with program("-m", "wsroom", "dev", "--port", "0", cwd=project) as dev:
        url = await served(dev)
        async with httpx.AsyncClient(timeout=WAIT) as http:
            assert "<title>demo</title>" in (await http.get(url)).text
        heard: list[str] = []
        socket = wsroom.client.connect(f"{url}/ws")
        socket.on("said", heard.append)
        async with socket:
            await socket.join_room("chat")
            page = await open_page(browser, url)
            await page.fill("input", "hello from the page")
            await page.press("input", "Enter")
            await expect(page.locator("li")).to_have_text("hello from the page")
            await socket.request("say", "hello from Python")
            await expect(page.locator("li").last).to_have_text("hello from Python")
            assert heard == ["hello from the page", "hello from Python"]
            with pytest.raises(RequestError, match="say something"):
                await socket.request("say", " ")
            with pytest.raises(RequestError, match="forbidden"):
                await socket.join_room("cellar")


async def change(file: Path, text: str) -> None:
    """Write the file at intervals, as the watcher may not have started yet."""
    while True:
        await asyncio.to_thread(file.write_text, text)
        await asyncio.sleep(SECOND)


async def test_dev_loads_the_app_again_when_it_changes(tmp_path: Path) -> None:
    """It finds an app of another name, in another folder; sockets reconnect to the new one."""
    text = "from wsroom import WSRoom\nchat = WSRoom()\n@chat.on('one')\ndef one(emitter): ...\n"
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "server.py").write_text(text)
    async with program("-m", "wsroom", "dev", "src/server.py", "--port", "0", cwd=tmp_path) as dev:
        url = await served(dev)
        async with wsroom.client.connect(f"{url}/ws", retry_after=TICK) as socket:
            await socket.request("one", timeout=WAIT)
            changing = asyncio.create_task(change(folder / "server.py", text.replace("one", "two")))
            await dev.line("Reloading")
            changing.cancel()
            await dev.line("Application startup complete")
            async with asyncio.timeout(WAIT):
                while socket.state != "open":  # noqa: ASYNC110
                    await asyncio.sleep(TICK)
            await socket.request("two", timeout=WAIT)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from wsroom import WSRoom\napp = FastAPI()\nrt = WSRoom()", "app"),
        ("app = WSRoom()\napi = FastAPI()\napi.mount('/rt', app)", "api"),
        ("app = WSRoom()\nif x:\n    api.mount('/rt', app=app)", "api"),
        ("rt = WSRoom()\nsite = Starlette(routes=[Mount('/rt', rt)])", "site"),
        ("rt = WSRoom()\nx: object = Starlette(routes=[Mount('/rt', app=rt)])", "x"),
        ("rt = WSRoom()\na.mount('/', rt)\nb.mount('/', a)\nb.mount('/s', files())", "b"),
        ("app = WSRoom(http=api)\napi.mount('/static', files)", "app"),
        ("a = WSRoom()\na.mount('/', a)", "a"),
        ("import wsroom\nchat: wsroom.WSRoom = wsroom.WSRoom()", "chat"),
        ("from shop.realtime import app", "app"),
        ("import shop\nx = y = shop\nrt = WSRoom(debug=True)", "rt"),
    ],
)
def test_the_app_of_a_file_is_found(text: str, name: str, tmp_path: Path) -> None:
    """Without running the file: `app`, or else the variable of a WSRoom."""
    (tmp_path / "app.py").write_text(text)
    assert name_of_app(tmp_path / "app.py") == name


FASTAPI = """
from fastapi import FastAPI
from wsroom import Emitter, WSRoom

rt = WSRoom()
api = FastAPI(lifespan=rt.lifespan)

@rt.on("say")
async def say(emitter: Emitter, message: str) -> str:
    return message

api.mount("/rt", rt)
"""


async def test_dev_serves_a_fastapi_app_and_masks_tokens(tmp_path: Path) -> None:
    """The WSRoom is under its mount; uvicorn's line about the socket does not have its token."""
    (tmp_path / "app.py").write_text(FASTAPI)
    async with program("-m", "wsroom", "dev", "--port", "0", cwd=tmp_path) as dev:
        url = await served(dev)
        async with wsroom.client.connect(f"{url}/rt/ws?token=secret&room=5") as socket:
            assert await socket.request("say", "hi", timeout=WAIT) == "hi"
        await dev.line("/rt/ws?token=***&room=***")
    assert "secret" not in dev.output


# -- routes ----------------------------------------------------------------------------------

APP = """
from fastapi import FastAPI
from wsroom import Router, WSRoom

app = WSRoom()
shop = Router(path="/t/{tenant}")

@app.page("/")
def page(): ...

@app.on("say", concurrent=True)
async def say(emitter, message): ...

@shop.on_join("order:{id}")
async def own(socket, room, id): ...

@app.on_connect(path="*")
def know(socket): ...

@shop.on_open()
@shop.on_open()
def greet(emitter): ...

@shop.middleware()
async def timed(emitter, message, call): ...

@shop.on("*")
def rest(emitter): ...

app.include(shop)
api = FastAPI()
api.mount("/rt", app)
empty = WSRoom()
"""

TABLE = """\
PATH            WHAT               NAME        FUNCTION                      WHERE
/               page                           page                          app.py:8
/ws             hook               on_connect  know                          app.py:17
/ws             guard              -           any client may join any room
/ws             event, concurrent  say         say                           app.py:11
/t/{tenant}     hook               on_connect  know                          app.py:17
/t/{tenant}     hook               on_open     greet                         app.py:20
/t/{tenant}     hook               on_open     greet                         app.py:20
/t/{tenant}     guard              order:{id}  own                           app.py:14
/t/{tenant}     middleware                     timed                         app.py:24
/t/{tenant}     event              *           rest                          app.py:27"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def squeezed(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_routes_are_listed(folder: Path) -> None:
    """Paths, pages, hooks, guards, middleware and events, with the functions and their places."""
    output = await run("routes", "app:app", cwd=folder)
    assert squeezed(output) == squeezed(TABLE)
    assert len({line.find("FUNCTION") for line in output.splitlines()[:1]}) == 1
    mounted = await run("routes", "app:api", cwd=folder)
    assert squeezed(mounted) == [
        squeezed(TABLE)[0],
        *([f"/rt{row[0]}", *row[1:]] for row in squeezed(TABLE)[1:]),
    ]


# -- doctor ----------------------------------------------------------------------------------


async def test_the_doctor_reports_a_good_setup(folder: Path) -> None:
    """Every line is ok, and the exit code is 0."""
    output = await run("doctor", "app:app", cwd=folder)
    assert {line.split()[0] for line in output.splitlines()} == {"ok"}
    for part in ("/ws, /t/{tenant}", "uvicorn", "websockets ", "1, which is all that Memory"):
        assert part in output
    output = await run("doctor", "app:api", "--", "--port", "1", cwd=folder)
    assert "/rt/ws, /rt/t/{tenant}" in output


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ((), "ok"),
        (("--host", "localhost"), "ok"),
        (("--uds", "/run/app.sock"), "ok"),
        (("--host", "0.0.0.0"), "warning"),
        (("--host", "example.org"), "warning"),
        (("--fd", "3"), "warning"),
    ],
)
async def test_the_doctor_says_what_a_proxy_has_to_limit(
    flags: tuple[str, ...], level: str, folder: Path
) -> None:
    """What uvicorn does not; a warning if others than a proxy of this machine may reach it."""

    async def look(*more: str, **env: str) -> list[str]:
        output = await run("doctor", "app:app", "--", *flags, *more, cwd=folder, env=env)
        about = ("long header", "half-sent")
        lines = [line for line in output.splitlines() if any(name in line for name in about)]
        assert {line.split()[0] for line in lines} == {level}
        return lines

    long, half = await look()
    assert "over 8192 bytes" in long and "until the client ends it" in half
    assert "over 32768 bytes" in (await look(WEBSOCKETS_MAX_LINE_LENGTH="32768"))[0]
    # wsproto accepts longer lines than any client sends.
    assert await look("--ws", "wsproto") == [half]


async def test_the_doctor_names_paths_that_nobody_authenticates(folder: Path) -> None:
    """Paths without an `on_connect`, if other paths have one."""
    (folder / "open.py").write_text(
        "from wsroom import WSRoom\n"
        "some, nobody = WSRoom(), WSRoom()\n"
        "for app in (some, nobody):\n"
        "    for path in ('/chat', '/news', '/t/{tenant}'):\n"
        "        app.add_hook('on_open', print, path=path)\n"
        "some.add_hook('on_connect', print, path='/chat')\n"
    )
    output = await run("doctor", "open:some", cwd=folder)
    (line,) = [line for line in output.splitlines() if not line.startswith("ok ")]
    assert line.startswith("warning  authentication ")
    assert "anybody may connect to /news, /t/{tenant}; @app.on_connect" in line
    assert "authentication" not in await run("doctor", "open:nobody", cwd=folder)


RISKS: dict[tuple[str, ...], tuple[str, str]] = {
    ("--ws", "none"): ("problem", "no WebSocket is served"),
    ("--ws", "websockets"): ("warning", "deprecated in uvicorn"),
    ("--ws-max-size", "65535"): ("warning", "Limits.frame_size=65536"),
    ("--ws-ping-interval", "0"): ("warning", "clients that vanished"),
    ("--ws-ping-timeout", "0"): ("problem", "closed at its first ping"),
    ("--interface", "wsgi"): ("problem", "wsroom is ASGI 3"),
    ("--lifespan", "off"): ("warning", "with its first connection only"),
    ("--timeout-graceful-shutdown", "4"): ("warning", "have 5 s"),
    ("--limit-max-requests", "1000"): ("warning", "all sockets of the worker are closed"),
    ("--limit-concurrency", "50"): ("warning", "each open socket counts"),
    ("--forwarded-allow-ips", "*"): ("warning", "chooses its socket.client"),
    ("--reload",): ("warning", "for development"),
    ("--workers", "2"): ("problem", "Set WSROOM_REDIS_URL"),
}


async def test_the_doctor_knows_uvicorns_risky_flags(folder: Path) -> None:
    """Each flag by itself, with a sentence; a problem makes the exit code 1, a warning does not."""

    async def look(flags: tuple[str, ...]) -> None:
        level, says = RISKS[flags]
        code = int(level == "problem")
        output = await run("doctor", "app:app", "--", *flags, cwd=folder, code=code)
        (line,) = [line for line in output.splitlines() if not line.startswith("ok ")]
        assert line.startswith(level) and says in line

    for flags in RISKS:
        await look(flags)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"UVICORN_WS_PING_INTERVAL": "0"}, "clients that vanished"),
        ({"WEB_CONCURRENCY": "3"}, "3, but the rooms of MemoryAdapter"),
        ({"FORWARDED_ALLOW_IPS": "*"}, "--forwarded-allow-ips *"),
    ],
)
async def test_the_doctor_sees_the_environment(
    env: dict[str, str], says: str, folder: Path
) -> None:
    """Its variables are those of uvicorn."""
    output = await run("doctor", "app:app", cwd=folder, env=env, code=int("rooms" in says))
    assert says in output


async def test_harmless_values_are_not_reported(folder: Path) -> None:
    """Values at the limits."""
    flags = ("--ws-max-size", "65536", "--timeout-graceful-shutdown", "5", "--workers", "1")
    output = await run("doctor", "app:app", "--", *flags, "--ws", "wsproto", cwd=folder)
    assert {line.split()[0] for line in output.splitlines()} == {"ok"}
    assert "wsproto 1" in output


async def test_the_doctor_asks_redis(
    folder: Path, valkey: brokers.Broker, redis: brokers.Broker
) -> None:
    """The report has its name and version, or why it cannot be used, without the password."""
    flags = ("--", "--workers", "4")
    for broker, name in ((valkey, "Valkey"), (redis, "Redis")):
        env = {"WSROOM_REDIS_URL": broker.url}
        output = await run("doctor", "app:app", *flags, cwd=folder, env=env)
        assert re.search(rf"ok +redis +{broker.url} is {name} \d+\.\d", output)
        assert "4, and RedisAdapter connects any number" in output
    env = {"WSROOM_REDIS_URL": "redis://:secret@127.0.0.1:1"}
    output = await run("doctor", "app:app", *flags, cwd=folder, env=env, code=1)
    assert re.search(r"problem +redis +redis://127.0.0.1:1 cannot be used: ", output)
    assert "secret" not in output


async def test_the_doctor_asks_a_whole_cluster(folder: Path, cluster: brokers.Cluster) -> None:
    """It connects to all masters."""
    env = {"WSROOM_REDIS_URL": cluster.url}
    output = await run("doctor", "app:app", cwd=folder, env=env)
    assert re.search(r"ok +redis +redis\+cluster://\S+ is Valkey \d+\.[\d.]+\n", output + "\n")


# -- what goes wrong -------------------------------------------------------------------------

BROKEN = {
    "broken.py": "from wsroom import WSRoom\napp = WSRoom()\napp.on('reply')\nx = nothing\n",
    "half.py": "app = (\n",
    "needs.py": "import a_module_that_is_not_there\n",
    "other.py": "x = 1\n",
    "my-app.py": "app = 1\n",
    "one_controller.py": "",
}


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("create:controller", "One"), 1, "one_controller.py exists"),
        (("create:controller", "9"), 1, "is not a valid name of a class"),
        (("create:controller", "Two", "--path", "ws"), 1, "path 'ws' is invalid"),
        (("create:controller", "Two", "--path", "/{a"), 1, "an unmatched brace"),
        (("create:controller",), 2, "NAME"),
        (("new", "a b"), 1, "'a b' is not a valid name of a project"),
        (("new", "../up"), 1, "is not a valid name of a project"),
        (("new", "src"), 1, "src exists"),
        (("new", "readonly/../x"), 1, "is not a valid name"),
        (("dev", "nothing.py"), 1, "nothing.py cannot be read (No such file"),
        (("dev", "other.py"), 1, "has no app; write: app = WSRoom()"),
        (("dev", "half.py"), 1, "is not Python"),
        (("dev", "my-app.py"), 1, "my-app.py cannot be imported"),
        (("dev", "--port", "http"), 2, "'http' is not a port"),
        (("routes", "app"), 1, "use module:name, like app:app"),
        (("routes", "app.py:app"), 1, "use app:app"),
        (("routes", "nowhere:app"), 1, "there is no module 'nowhere' in"),
        (("routes", "needs:app"), 1, "No module named 'a_module_that_is_not_there' ("),
        (("routes", "broken:app"), 1, "NameError: name 'nothing' is not defined ("),
        (("routes", "broken:app"), 1, "broken.py, line 4)"),
        (("routes", "half:app"), 1, "SyntaxError"),
        (("routes", "app:nothing"), 1, "app has no 'nothing'"),
        (("routes", "app:FastAPI"), 1, "without a WSRoom"),
        (("doctor", "app:empty"), 1, "app:empty has no event"),
        (("doctor", "app:app", "--", "--bogus"), 1, "uvicorn: No such option"),
        (("doctor", "app:app", "--", "--version"), 1, "give only flags for serving"),
        (("doctor", "app:app", "--workers", "2"), 2, "unrecognized arguments"),
        (("dance",), 2, "invalid choice: 'dance'"),
    ],
)
async def test_a_mistake_is_one_sentence(
    arguments: tuple[str, ...], code: int, says: str, folder: Path
) -> None:
    """No traceback, an exit code, and no new file."""
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    (folder / "src").mkdir()
    before = contents(folder)
    assert says in await run(*arguments, cwd=folder, code=code)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command", ["new", "dev", "create:controller", "routes", "doctor", "emit", "kick", ""]
)
async def test_help_has_examples(command: str, tmp_path: Path) -> None:
    """Each command shows how it is used; `wsroom --help` shows which is the first."""
    output = await run(*command.split(), "--help", cwd=tmp_path)
    expected = f"examples:\n  wsroom {command} " if command else "Begin with: wsroom new"
    assert expected in output or f"examples:\n  wsroom {command}\n" in output


async def test_the_script_and_the_module_are_one(tmp_path: Path) -> None:
    """`wsroom` and `python -m wsroom` are programs, with exit codes and no traceback."""
    script = str(Path(sys.executable).with_name("wsroom"))
    for start in (("-m", "wsroom"), (script,)):
        for arguments, code, says in (
            (("new", "a b"), 1, "wsroom: 'a b' is not a valid name of a project"),
            (("routes", "nowhere:app"), 1, "wsroom: there is no module 'nowhere'"),
            (("--version",), 0, f"wsroom {wsroom.__version__}"),
            (("--help",), 0, "usage: wsroom [-h]"),
            ((), 2, "the following arguments are required: COMMAND"),
        ):
            async with program(*start, *arguments, cwd=tmp_path) as running:
                assert await running.end() == code
            assert says in running.output and "Traceback" not in running.output


def test_a_reader_of_the_output_may_end_before(tmp_path: Path) -> None:
    """As in `wsroom asyncapi app:app | head`: without a traceback."""
    (tmp_path / "app.py").write_text("from wsroom import WSRoom\napp = WSRoom()\n")
    command = f"{sys.executable} -m wsroom asyncapi app:app | head -c 1"
    output = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (output.stdout, output.stderr) == ("{", "")
