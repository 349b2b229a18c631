"""The wheel, installed without extras: no pydantic and no msgspec."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.support.clock import SECOND
from tests.support.paths import ROOT
from tests.support.peers import WAIT, Peer
from tests.support.servers import program

APP = """
from __future__ import annotations

import sys
from dataclasses import dataclass

from wsroom import Emitter, SetupError, WSRoom

app = WSRoom(debug=True)
app.emits("said", dict[str, str])


@app.on("untyped")
async def untyped(emitter, message):
    return message


@app.on("say")
async def say(emitter: Emitter, message: dict[str, str | None]) -> list[str]:
    await emitter.emit("said", message)
    return sorted(message)


@dataclass
class Say:
    text: str


async def of_dataclass(emitter: Emitter, message: Say) -> None: ...


try:
    app.add_handler("dataclass", of_dataclass)
except SetupError as exc:
    print(exc)
try:
    WSRoom(metrics=True)
except SetupError as exc:
    print(exc)
print("libraries:", {"pydantic", "msgspec"} & set(sys.modules))
"""


@pytest.mark.slow
@pytest.mark.timeout(180 * SECOND)
async def test_the_wheel_serves_without_extras(tmp_path: Path) -> None:
    """Untyped and builtin-typed handlers work; a dataclass is refused with what to install."""
    site, folder = tmp_path / "site", tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    pip = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(site))
    async with program(*pip, str(ROOT)) as run:
        assert await run.end(150) == 0, run.output
    # Without the site-packages of this interpreter, which have both libraries.
    env = {"PYTHONPATH": f"{site}{os.pathsep}{folder}"}
    async with program("-S", "-m", "uvicorn", "app:app", "--port", "0", env=env) as server:
        line = await server.line("Uvicorn running on")
        refusal = (
            "the message of of_dataclass() is Say, which needs pydantic or msgspec; "
            "install wsroom[pydantic] or wsroom[msgspec], or use builtin types, or object"
        )
        missing = "metrics=True needs prometheus-client; install wsroom[metrics]"
        assert missing in server.lines
        assert refusal in server.lines and "libraries: set()" in server.lines
        url = f"ws://127.0.0.1:{re.findall(r':([0-9]+)', line)[0]}/ws"
        async with connect(url, open_timeout=WAIT) as websocket:
            client = Peer(websocket)
            await client.expect("connected")
            assert await client.request("untyped", {"any": [1]}) == {"any": [1]}
            await client.send("say", {"text": "hi"}, id=1)
            assert await client.expect("said") == {"text": "hi"}
            assert await client.expect("reply") == ["text"]
            await client.send("say", {"text": 5}, id=2)
            error = await client.error("invalid_message")
            assert error["message"]["data"][0]["loc"] == ["text"]
            await client.send("say", {"text": None}, id=3)
            error = await client.error("internal")
            assert "'said' is not dict[str, str], as declared" in error["message"]["detail"]
