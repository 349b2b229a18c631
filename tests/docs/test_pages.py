"""The pages: their code runs, their links resolve, and their names match the code."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Dialog, expect

import wsroom
import wsroom.client
import wsroom.testing
from tests.support.browsers import open_page, run
from tests.support.clock import SECOND
from tests.support.pages import FENCE, LINK, PAGES, add, blocks, load_app, save, sections, slug
from tests.support.paths import ROOT
from tests.support.peers import WAIT
from tests.support.servers import program, serve
from wsroom.testing import Refused, TestClient


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_python_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    """Each block runs after those before it; each test in them passes."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.language != "python":
            continue
        if block.file is None:
            # Blank lines first, so that a traceback has the page's own line numbers.
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            tests = set(namespace)
            exec(code, namespace)
            for name in sorted(set(namespace) - tests):
                if name.startswith("test_"):
                    async with asyncio.timeout(WAIT):
                        await namespace[name]()
        else:
            add(tmp_path / block.file, block.text)
            if block.file == "app.py":
                load_app(tmp_path)


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
async def test_the_tests_of_the_page_pass(name: str, tmp_path: Path) -> None:
    """Saved as the page says, its tests are found by pytest and pass."""
    save(ROOT / name, tmp_path)
    text = (tmp_path / "test_app.py").read_text(encoding="utf-8")
    async with program("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path) as run:
        assert await run.end(60) == 0, run.output
    assert f"{text.count('async def test_')} passed" in run.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_the_page_resolve(page: Path) -> None:
    """Each relative link names a file that is there, and an anchor that is in it."""
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or anchor in sections(path), target


async def test_the_functions_about_logging_work() -> None:
    """A line has the attributes of wsroom's, or a dash; uvicorn's lines have no tokens."""
    page = blocks(ROOT / "docs" / "deploying.md")
    code = "".join(each.text for each in page if each.language == "python")
    code += (
        "configure_logging()\nmask_tokens()\n"
        "logging.info('hi')\n"
        "logging.getLogger('wsroom').info('hi', extra={'path': '/ws', 'socket_id': 'ws:a.1'})\n"
        "logging.getLogger('uvicorn.error').info('%s', '/ws?token=x')\n"
    )
    async with program("-c", code) as run:
        assert await run.end() == 0, run.output
    assert run.output.splitlines() == [
        "INFO hi path=- socket=-",
        "INFO hi path=/ws socket=ws:a.1",
        "INFO /ws?token=*** path=- socket=-",
    ]


async def test_the_tutorials_app_works(tmp_path: Path) -> None:
    """The tutorial's app behaves as the page says."""
    save(ROOT / "docs" / "tutorial.md", tmp_path)
    app = load_app(tmp_path)
    async with TestClient(app, timeout=10 * SECOND) as client:
        ada = await client.connect("/ws", query={"token": "t-ada"})
        assert await ada.request("echo", "hello") == "hello"
        with pytest.raises(Refused) as refused:
            await client.connect("/ws", query={"token": "wrong"}, subprotocols=["wsroom.1"])
        assert refused.value.close_code == 4401
        bob = await client.connect("/ws", query={"token": "t-bob"})
        assert await ada.expect("came") == {"room": "lobby", "name": "bob"}
        assert (await bob.request("joinRoom", "team:blue"))["room"] == "team:blue"
        with pytest.raises(Refused, match="forbidden: you are not in this team"):
            await bob.request("joinRoom", "team:red")
        with pytest.raises(Refused, match="forbidden: this room cannot be joined"):
            await bob.request("joinRoom", "cellar")
        with pytest.raises(Refused, match="forbidden: say it"):
            await bob.request("say", {"room": "team:red", "text": "let me in"})
        await bob.close()
        assert await ada.expect("went") == {"room": "lobby", "name": "bob"}


async def test_the_tutorials_page_works(browser: Browser, tmp_path: Path) -> None:
    """In a browser, clients with a token talk in the lobby; others see the refusal."""
    save(ROOT / "docs" / "tutorial.md", tmp_path)
    async with serve(load_app(tmp_path)) as server:
        pages = []
        for token in ("t-ada", "t-bob", "wrong"):
            page = await (await browser.new_context()).new_page()
            page.on("dialog", partial(answer, token))
            await page.goto(server.url("/", "http"))
            await expect(page.locator("#log")).not_to_be_empty()
            pages.append(page)
        await pages[0].fill("#text", "hello")
        await pages[0].press("#text", "Enter")
        said = 'said {"room":"lobby","name":"ada","text":"hello"}'
        await expect(pages[0].locator("#log")).to_contain_text(said)
        await expect(pages[1].locator("#log")).to_contain_text(said)
        await expect(pages[2].locator("#log")).to_contain_text("closed 4401 this token is not")


async def test_the_examples_of_the_client_run(browser: Browser, tmp_path: Path) -> None:
    """The page of client.md talks in its room; its examples run after each other, as they stand."""
    page = ROOT / "docs" / "client.md"
    save(page, tmp_path)
    script = "\n".join(block.text for block in blocks(page) if block.language == "js")
    async with serve(load_app(tmp_path)) as server:
        tab = await open_page(browser, server.url("/", "http"))
        await expect(tab.locator("#log")).to_contain_text(": hello")
        failed: list[str] = []
        tab.on("console", lambda line: failed.append(line.text) if line.type != "log" else None)
        await run(tab, f"async () => {{ {script} }}")
        assert failed == []


async def answer(text: str, dialog: Dialog) -> None:
    await dialog.accept(text)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public members that `cls` does not inherit from another public class."""
    public = [each for each in (getattr(wsroom, name) for name in wsroom.__all__) if each != cls]
    inherited = {base for parent in cls.__mro__ if parent in public for base in parent.__mro__}
    for base in cls.__mro__:
        if base.__module__.startswith("wsroom") and base not in inherited:
            for name, value in vars(base).items():
                if not name.startswith("_"):
                    yield name, value


def signature(function: Any, *, skip: int = 0) -> str:
    """The public parameters with their defaults, without types."""
    whole = inspect.signature(function).parameters.values()
    plain = [p.replace(annotation=p.empty) for p in whole if not p.name.startswith("_")]
    return str(inspect.Signature(plain[skip:]))


INNER = {
    ("Router", "find"),
    ("Router", "routes"),
    ("Router", "limits"),
    ("Router", "router"),
    ("Controller", "router"),
}
"""Methods between a router and the app."""
GIVEN = {"Target", "Emitter", "Socket", "BlockingEmitter", "BlockingSocket", "TestConnection"} | {
    "Stats",
    "ClientRoom",
    "ClientSocket",
    "Event",
    "Events",
}
"""Classes that only wsroom instantiates."""


def described() -> list[Any]:
    testing, client = wsroom.testing, wsroom.client
    names: list[Any] = [getattr(wsroom, name) for name in wsroom.__all__ if name[0] != "_"]
    names += [getattr(client, name) for name in client.__all__]
    return [*names, testing.TestClient, testing.TestConnection, testing.Refused]


@pytest.mark.parametrize("thing", described(), ids=lambda thing: str(thing.__name__))
def test_every_public_name_is_described(thing: Any) -> None:
    """A public name has a section in api.md, with the signature and the members that it has."""
    name = thing.__name__
    section = sections(ROOT / "docs" / "api.md")[slug(name)].replace('"', "'")
    if name not in GIVEN | {"WSRoomError", "SetupError"}:
        assert f"`{name}{signature(thing)}`" in section
    if name == "WSRoom":
        section = "".join(
            text
            for anchor, text in sections(ROOT / "docs" / "api.md").items()
            if anchor.startswith("wsroom")
        )
    if isinstance(thing, type):
        for member, value in members(thing):
            if (name, member) in INNER:
                continue
            shown = member + signature(value, skip=1) if inspect.isfunction(value) else member
            assert f"`{shown}`" in section, f"{name}.{shown}"


def test_the_version_is_described() -> None:
    """`__version__` has its section too, and the changelog names it."""
    assert "__version__" in sections(ROOT / "docs" / "api.md")
    assert f"## [{wsroom.__version__}]" in (ROOT / "docs" / "changelog.md").read_text()


def test_the_limits_are_the_codes() -> None:
    """Every limit has its row."""
    section = sections(ROOT / "docs" / "api.md")["limits"]
    for name in inspect.signature(wsroom.Limits).parameters:
        assert f"\n| `{name}` | " in section


def test_the_guarantees_name_tests_that_exist() -> None:
    """Each test that the page names is in the file that it names."""
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    file_and_tests = r"\[[\w./]+\]\(\.\./((?:tests|wsroom)/[\w./]+)\)((?:,? `test_\w+`)+)"
    named = re.findall(file_and_tests, text)
    assert named
    for file, tests in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        for test in re.findall(r"`(test_\w+)`", tests):
            assert f"def {test}(" in source, f"{file}: {test}"
    promises = text.partition("## What is promised")[2].partition("## What is not promised")[0]
    for promise in promises.split("\n### ")[1:]:
        assert "\nTests: [" in promise, promise.partition("\n")[0]
    assert text.count("`test_") == sum(tests.count("`test_") for _, tests in named)


def test_the_design_has_a_chapter_for_each_folder() -> None:
    """Each folder of the package is named in a heading."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    headings = "".join(re.findall(r"^## .*\n", text, re.MULTILINE))
    package = ROOT / "wsroom"
    folders = {path.parent.relative_to(package) for path in package.rglob("*/__init__.py")}
    assert [folder for folder in folders if f"`{folder}/`" not in headings] == []
