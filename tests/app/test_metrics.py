"""`GET /metrics`, on real uvicorn, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from tests.support import brokers
from tests.support.clock import SECOND
from tests.support.peers import WAIT, Peer, peer
from tests.support.servers import get, program, serve
from wsroom import Emitter, SetupError, WSRoom
from wsroom.exporter import DEAD_AFTER, FOLDER, Exporter
from wsroom.testing import TestClient

LABELS = {"path", "event", "code", "side", "reason", "outcome", "le"}
"""What a metric may be divided by: nothing of which clients, or users, can make more."""


def chat(**options: Any) -> WSRoom:
    app = WSRoom(**{"metrics": True, **options})

    @app.on("say", path="/t/{tenant}")
    async def say(emitter: Emitter, message: Any) -> None:
        await emitter.to("chat").emit("said", message)

    @app.on("nap", path="/t/{tenant}")
    async def nap(emitter: Emitter) -> str:
        await asyncio.sleep(0.02)
        return "rested"

    @app.on("work", path="/t/{tenant}")
    def work(emitter: Any) -> None:
        time.sleep(0.02)

    return app


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(text: str, name: str, labels: Mapping[str, str] | None = None) -> float:
    return samples(text)[name, frozenset((labels or {}).items())]


async def test_the_numbers_are_those_of_the_stats() -> None:
    """Each metric has its value; paths are as they were registered."""
    app = chat()
    path = {"path": "/t/{tenant}"}
    async with serve(app) as server, peer(server, "/t/acme") as a:
        await a.join("chat")
        await a.send("say", "hi")
        await a.expect("said")
        await a.send("no such event")
        await a.error("unknown_event")
        status, response = await get(server, "/metrics")
        stats = app.stats()
    assert status == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.text
    assert value(text, "wsroom_workers") == 1
    assert value(text, "wsroom_connections", path) == 1
    assert value(text, "wsroom_connections_opened_total", path) == 1
    assert value(text, "wsroom_rooms") == value(text, "wsroom_memberships") == 1
    for event in ("say", "joinRoom", "*"):
        assert value(text, "wsroom_events_received_total", {**path, "event": event}) == 1
    assert value(text, "wsroom_errors_total", {"code": "unknown_event"}) == 1
    assert value(text, "wsroom_frames_received_total") == 3 == stats.frames_in
    assert value(text, "wsroom_received_bytes_total") == stats.bytes_in
    assert value(text, "wsroom_frames_sent_total") == 4 == stats.frames_out
    assert value(text, "wsroom_sent_bytes_total") == stats.bytes_out
    assert value(text, "wsroom_adapter_up") == 1


async def test_the_time_in_handlers_is_counted() -> None:
    """Of `async def` and `def`, with and without an id: the sum, and the calls of each duration."""
    app = chat()
    async with serve(app) as server, peer(server, "/t/acme") as a:
        await a.request("nap")
        await a.send("nap")
        await a.request("work")
        text = (await get(server, "/metrics"))[1].text
        handlers = app.stats().handlers["/t/{tenant}"]
    assert handlers["nap"].calls == 2 and handlers["work"].calls == 1
    for event, calls in (("nap", 2), ("work", 1)):
        labels = {"path": "/t/{tenant}", "event": event}
        assert value(text, "wsroom_handler_seconds_count", labels) == calls
        assert 0.02 * calls <= value(text, "wsroom_handler_seconds_sum", labels) < 2 * SECOND
        assert value(text, "wsroom_handler_seconds_bucket", {**labels, "le": "0.01"}) == 0
        assert value(text, "wsroom_handler_seconds_bucket", {**labels, "le": "+Inf"}) == calls


async def test_labels_have_few_values() -> None:
    """Whatever clients send and whatever rooms they join, no series more."""
    app = chat()
    async with TestClient(app) as client:
        assert app._exporter is not None
        await (await client.connect("/t/first")).request("nap")
        await (await client.connect("/t/first")).send_text('{"event": "made up"}')
        await client.settle()
        before = samples(app._exporter.exposition().decode())
        for number in range(20):
            one = await client.connect(f"/t/{number}")
            await one.send_text(json.dumps({"event": f"made up {number}"}))
        await client.settle()
        after = samples(app._exporter.exposition().decode())
    ours = [key for key in after if key[0].startswith("wsroom_")]
    assert {key for key in before if key[0].startswith("wsroom_")} == set(ours)
    assert {name for _, labels in ours for name, _ in labels} <= LABELS


async def test_metrics_are_opt_in() -> None:
    """Without `metrics=True` the path is like any other, and no handler is timed."""
    app = chat(metrics=False)
    async with serve(app) as server, peer(server, "/t/acme") as a:
        await a.request("nap")
        assert (await get(server, "/metrics"))[0] == 404
        assert app.stats().handlers == {}


async def test_an_apps_own_metrics_are_served_too() -> None:
    """Those of prometheus-client's registry follow, the process' own among them."""
    registry = prometheus_client.REGISTRY
    orders = prometheus_client.Counter("shop_orders", "Orders.", registry=registry)
    try:
        orders.inc(3)
        async with serve(chat()) as server:
            text = (await get(server, "/metrics"))[1].text
    finally:
        registry.unregister(orders)
    assert value(text, "shop_orders_total") == 3
    assert ("process_cpu_seconds_total", frozenset()) in samples(text)


def test_a_folder_that_cannot_be_made_is_a_setup_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not at the first scrape."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(FOLDER, str(file / "inside"))
    with pytest.raises(SetupError, match=FOLDER):
        WSRoom(metrics=True)


async def test_a_worker_that_has_ended_leaves_its_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop and after a kill: what it has counted stays, its sockets do not."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    killed, stopped, asked = (Exporter(chat().stats) for _ in range(3))
    for exporter in (killed, stopped, asked):
        exporter.start()
    stopped.stop()
    path = {"path": "/t/{tenant}"}
    assert value(asked.exposition().decode(), "wsroom_workers") == 2
    file = tmp_path / killed._name
    rows = json.loads(file.read_text())
    rows["wsroom_connections"] = [[["/t/{tenant}"], [5]]]
    rows["wsroom_connections_opened"] = [[["/t/{tenant}"], [7]]]
    rows["wsroom_adapter_up"] = [[[], [0]]]
    file.write_text(json.dumps(rows))
    text = asked.exposition().decode()
    assert value(text, "wsroom_connections", path) == 5
    assert value(text, "wsroom_adapter_up") == 0
    then = time.time() - DEAD_AFTER - 1
    os.utime(file, (then, then))
    text = asked.exposition().decode()
    assert value(text, "wsroom_workers") == 1
    assert value(text, "wsroom_connections", path) == 0
    assert value(text, "wsroom_connections_opened_total", path) == 7
    assert value(text, "wsroom_adapter_up") == 1
    killed.stop()
    asked.stop()


async def test_a_folder_that_vanishes_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker goes on, and writes again once it can."""
    folder = tmp_path / "numbers"
    monkeypatch.setenv(FOLDER, str(folder))
    exporter = Exporter(chat().stats)
    folder.rmdir()
    exporter.start()
    exporter._write_again(folder)
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    exporter._write_again(folder)
    assert [file.name for file in folder.iterdir()] == [exporter._name]
    exporter.stop()


APP = """
from wsroom import Emitter, WSRoom

app = WSRoom(metrics=True)


@app.on("hi")
async def hi(emitter: Emitter) -> str:
    return "hi"
"""


@contextlib.asynccontextmanager
async def two_workers(folder: Path, **env: str) -> AsyncIterator[str]:
    """Serve APP by uvicorn's --workers; yields the address."""
    (folder / "app.py").write_text(APP)
    arguments = ("-m", "uvicorn", "app:app", "--port", "0", "--workers", "2")
    async with brokers.valkey() as broker:
        env["WSROOM_REDIS_URL"] = broker.url
        async with program(*arguments, cwd=folder, env=env) as server:
            line = await server.line("Uvicorn running on")
            for _ in range(2):
                await server.line("Application startup complete")
            yield f"127.0.0.1:{re.findall(r':([0-9]+)', line)[0]}"


async def ask(address: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=WAIT) as client:
        return await client.get(f"http://{address}/metrics")


@pytest.mark.timeout(120 * SECOND)
async def test_two_workers_are_one(tmp_path: Path) -> None:
    """Whichever worker is asked, its answer has the sockets and the events of both."""
    async with (
        two_workers(tmp_path, **{FOLDER: str(tmp_path / "numbers")}) as address,
        contextlib.AsyncExitStack() as stack,
    ):
        workers = set()
        for _ in range(8):
            url = f"ws://{address}/ws"
            one = Peer(await stack.enter_async_context(connect(url, open_timeout=WAIT)))
            workers.add((await one.expect("connected"))["id"].partition(".")[0])
            assert await one.request("hi") == "hi"
        assert len(workers) == 2

        async def complete() -> bool:
            text = (await ask(address)).text
            hi = value(text, "wsroom_events_received_total", {"path": "/ws", "event": "hi"})
            return hi == 8

        await brokers.eventually(complete)
        text = (await ask(address)).text
    assert value(text, "wsroom_workers") == 2
    assert value(text, "wsroom_connections", {"path": "/ws"}) == 8
    assert value(text, "wsroom_handler_seconds_count", {"path": "/ws", "event": "hi"}) == 8
    assert 0 <= value(text, "wsroom_adapter_lag_seconds") < SECOND


@pytest.mark.timeout(120 * SECOND)
async def test_one_of_several_workers_does_not_answer_for_all(tmp_path: Path) -> None:
    """Without the folder the numbers would be one worker's: 503 says what to set."""
    async with two_workers(tmp_path) as address:
        response = await ask(address)
    assert response.status_code == 503
    assert FOLDER in response.text and "2 workers" in response.text
