"""Folders of a checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRICT_CACHE = ROOT / ".mypy_cache" / "strict"
"""The cache of the tests that run mypy: without it each reads all libraries again."""
VENV = ROOT / ".venv"
"""The environment of `python3 -m tests`."""
BIN = "Scripts" if os.name == "nt" else "bin"
"""The folder of an environment's programs."""
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
