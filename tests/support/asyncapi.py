"""AsyncAPI's own parser, from npm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.clock import SECOND
from tests.support.npm import find, installed

PACKAGES = ("@asyncapi/parser@3.6.6", "@asyncapi/specs@6.11.1")
SCRIPT = Path(__file__).with_name("parse_asyncapi.mjs")


def parse(documents: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Parse all documents in one process; return what the parser says of each."""
    files = {name: folder / f"{name.replace(' ', '_')}.json" for name in documents}
    for name, file in files.items():
        file.write_text(json.dumps(documents[name]))
    command = [find("node"), str(SCRIPT), str(installed(*PACKAGES)), *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 * SECOND)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return {name: said[str(file)] for name, file in files.items()}
