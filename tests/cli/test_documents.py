"""`wsroom types` and `wsroom asyncapi`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.commands import run
from tests.support.servers import program

APP = '''
from wsroom import Emitter, Socket, WSRoom

app = WSRoom(docs={"info": {"title": "Chat", "version": "3.2.1"}})


@app.on("say")
async def say(emitter: Emitter, message: object) -> None:
    """Say something to all."""


@app.on("ping")
async def ping(emitter: Emitter) -> None: ...


@app.on_join("board:{id}")
async def guard(socket: Socket, room: str, id: str) -> None:
    """Members only."""
'''

MOUNTED = """
from starlette.applications import Starlette
from starlette.routing import Mount
from wsroom import Emitter, WSRoom
from app import app as first

second = WSRoom()


@second.on("other", path="/t/{tenant}")
async def other(emitter: Emitter) -> None: ...


both = Starlette(routes=[Mount("/rt", first), Mount("/more", second)])
"""

TYPES = """\
// The events of an app, for TypeScript. Made by `wsroom types`; do not change it.

export interface Paths {
  "/ws": {
    client: {
      /** Say something to all. */
      say: unknown;
      ping: null;
    };
    server: {
      [event: string]: unknown;
    };
    replies: {
      say: null;
      ping: null;
    };
    state: {};
  };
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "mounted.py").write_text(MOUNTED)
    return tmp_path


async def test_types_of_an_app(folder: Path) -> None:
    """To the output, or into a file, which is not written again if nothing has changed."""
    assert await run("types", "app:app", cwd=folder) == TYPES
    assert await run("types", "app:app", "-o", "events.d.ts", cwd=folder) == "wrote events.d.ts\n"
    assert (folder / "events.d.ts").read_text() == TYPES
    assert await run("types", "app:app", "-o", "events.d.ts", cwd=folder) == ""


async def test_types_for_python(folder: Path) -> None:
    """A class for the path's socket."""
    said = await run("types", "app:app", "--python", cwd=folder)
    assert "class WsSocket(TypedSocket, Protocol):" in said
    assert 'event: Literal["ping"], message: None = None' in said


async def test_types_are_checked(folder: Path) -> None:
    """A file that is not what the app says fails, and the difference is shown."""
    file = folder / "events.d.ts"
    file.write_text(TYPES)
    assert await run("types", "app:app", "--check", "events.d.ts", cwd=folder) == ""
    file.write_text(TYPES.replace("ping: null", "pong: null", 1))
    said = await run("types", "app:app", "--check", "events.d.ts", cwd=folder, code=1)
    assert said == (
        "wsroom: events.d.ts is out of date; make it again with --output events.d.ts:\n"
        "-      pong: null;\n"
        "+      ping: null;\n"
    )
    file.write_text(TYPES + "\n")
    assert "is out of date" in await run(
        "types", "app:app", "--check", str(file), cwd=folder, code=1
    )
    said = await run("types", "app:app", "--check", "none.d.ts", cwd=folder, code=1)
    assert said == "wsroom: none.d.ts cannot be read: No such file or directory\n"


async def test_a_file_that_cannot_be_written(folder: Path) -> None:
    """A sentence, as for --watch without a file."""
    said = await run("types", "app:app", "-o", "none/events.d.ts", cwd=folder, code=1)
    assert said == "wsroom: none/events.d.ts cannot be written: No such file or directory\n"
    said = await run("types", "app:app", "--watch", cwd=folder, code=1)
    assert said == "wsroom: --watch needs a file: --output events.d.ts\n"


async def test_types_are_written_again_after_a_change(folder: Path) -> None:
    """The app is loaded anew; an error in it is shown, and the watching goes on."""
    command = ("-m", "wsroom", "types", "app:app", "--output", "events.d.ts", "--watch")
    async with program(*command, cwd=folder) as watching:
        await watching.line("wrote events.d.ts")
        (folder / "app.py").write_text("app = 5 +")
        await watching.line("wsroom: app cannot be imported")
        (folder / "app.py").write_text(APP.replace('"say"', '"shout"'))
        await watching.line("wrote events.d.ts")
    assert "shout: unknown;" in (folder / "events.d.ts").read_text()


async def test_the_document_of_an_app(folder: Path) -> None:
    """As JSON or as YAML, with what the app says about itself, and its docstrings."""
    described = json.loads(await run("asyncapi", "app:app", cwd=folder))
    assert described["info"] == {"title": "Chat", "version": "3.2.1"}
    say = described["operations"]["ws.receive.say"]
    assert say["summary"] == "Say something to all."
    assert described["channels"]["ws"]["x-rooms"] == [
        {
            "pattern": "board:{id}",
            "description": "Members only.",
            "parameters": {"id": {"type": "string"}},
        }
    ]
    text = await run("asyncapi", "app:app", "--yaml", cwd=folder)
    assert yaml.safe_load(text) == described
    assert "&id" not in text and text.startswith("asyncapi: 3.1.0\ninfo:\n  title: Chat\n")
    plain = json.loads(await run("asyncapi", "app:app", "--no-builtins", cwd=folder))
    assert "ws.receive.joinRoom" in described["operations"]
    assert "ws.receive.joinRoom" not in plain["operations"]


async def test_yaml_needs_a_library(folder: Path) -> None:
    """Without PyYAML the error says what to install."""
    (folder / "yaml.py").write_text("raise ImportError('not installed')")
    async with program("-m", "wsroom", "asyncapi", "app:app", "--yaml", cwd=folder) as command:
        assert await command.end() == 1
    assert command.output == "wsroom: --yaml needs PyYAML: pip install pyyaml"


async def test_apps_that_are_mounted(folder: Path) -> None:
    """All of them are described, with the paths under which they are mounted."""
    described = json.loads(await run("asyncapi", "mounted:both", cwd=folder))
    assert [each["address"] for each in described["channels"].values()] == [
        "/rt/ws",
        "/more/t/{tenant}",
    ]
    assert described["channels"]["more_t_tenant"]["parameters"] == {
        "tenant": {"description": "Type: string."}
    }
    assert described["info"]["title"] == "Chat"
    said = await run("types", "mounted:both", cwd=folder)
    assert '"/rt/ws": {' in said and '"/more/t/{tenant}": {' in said


async def test_an_app_that_cannot_be_loaded(folder: Path) -> None:
    """The sentences of the other commands."""
    said = await run("asyncapi", "app:none", cwd=folder, code=1)
    assert said == "wsroom: app has no 'none'; check the name of the app\n"
