"""Makes wsroom.min.js and its source map. After a change of wsroom.js, run:

python -m tests.support.minify
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.support.clock import SECOND
from tests.support.npm import install
from wsroom.asgi.assets import FOLDER

TERSER = "terser@5.44.0"
NAMES = ("wsroom.min.js", "wsroom.min.js.map")

OPTIONS = (
    "--module",
    "--compress",
    # The app wraps the file into a script that uses these names.
    "--mangle",
    "reserved=[connect,WSRoomError]",
    "--source-map",
    "includeSources,url=wsroom.min.js.map",
    "--output",
    NAMES[0],
)


def minify() -> dict[str, str]:
    """Minify wsroom.js; return the texts of the files by their names."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(TERSER, folder)
        (folder / "wsroom.js").write_bytes((FOLDER / "wsroom.js").read_bytes())
        command = [str(folder / "node_modules" / ".bin" / "terser"), "wsroom.js", *OPTIONS]
        subprocess.run(command, cwd=folder, check=True, timeout=60 * SECOND)
        return {name: (folder / name).read_text(encoding="utf-8") for name in NAMES}


if __name__ == "__main__":
    for name, text in minify().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
