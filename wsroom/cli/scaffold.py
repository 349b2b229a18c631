"""Writing new files: `wsroom create:controller` and `wsroom new`."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from wsroom.errors import SetupError
from wsroom.routing.patterns import Pattern

PROJECT = ("app.py", "page.html", "test_app.py", "README.md")


class ControllerName(NamedTuple):
    """The names of a new controller: its class, and its module."""

    name: str
    module: str

    @property
    def lines(self) -> tuple[str, str]:
        """The two lines that register it in an app."""
        return f"from {self.module} import {self.name}", f"app.include({self.name}())"


def name_controller(given: str) -> ControllerName:
    """Parse a name in either style: `ChatRoomController`, `ChatRoom`, `chat_room_controller`.

    Raises:
        SetupError: it is not a valid name of a class.

    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", given):
        raise SetupError(
            f"{given!r} is not a valid name of a class; "
            "use letters and digits, like ChatRoomController"
        )
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+", given)
    if words[-1].lower() == "controller":
        words.pop()
    if not words:
        raise SetupError(f"{given!r} names no subject; use a name like ChatRoomController")
    name = "".join(word[0].upper() + word[1:] for word in words)
    module = "_".join(word.lower() for word in words)
    return ControllerName(f"{name}Controller", f"{module}_controller")


def create_controller(given: str, path: str, folder: Path) -> tuple[Path, ControllerName]:
    """Write a controller's module; return its file and its names.

    Raises:
        SetupError: the name or the path is invalid, or the file exists.

    """
    controller = name_controller(given)
    if not path.startswith("/") or not path.isprintable() or set(path) & set('"\\'):
        raise SetupError(f"path {path!r} is invalid; use a path like /ws")
    Pattern(path, "/")
    file = folder / f"{controller.module}.py"
    values = {"name": controller.name, "module": controller.module, "path": path}
    _write(file, _template("controller.py", values))
    return file, controller


def create_project(name: str, folder: Path) -> Path:
    """Write a project into a new folder; return it.

    Raises:
        SetupError: the name is invalid for a folder, or the folder exists.

    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SetupError(
            f"{name!r} is not a valid name of a project; "
            "use letters, digits, '-', '_', '.', like my-chat"
        )
    project = folder / name
    if project.exists():
        raise SetupError(f"{project} exists; choose another name, or remove it first")
    texts = {file: _template(f"project/{file}", {"title": name}) for file in PROJECT}
    _try_to(project.mkdir, project)
    for file, text in texts.items():
        _write(project / file, text)
    return project


def _template(name: str, values: dict[str, str]) -> str:
    text = files("wsroom.cli").joinpath("templates", f"{name}.txt").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def _write(file: Path, text: str) -> None:
    def write() -> None:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)

    _try_to(write, file)


def _try_to(write: Callable[[], object], file: Path) -> None:
    try:
        write()
    except FileExistsError:
        raise SetupError(f"{file} exists; choose another name, or remove it first") from None
    except OSError as exc:
        raise SetupError(f"{file} cannot be written: {exc.strerror}") from None
