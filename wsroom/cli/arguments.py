"""What the commands have in common."""

from __future__ import annotations

import argparse
from typing import Any


def add_command(commands: Any, name: str, help: str, description: str, *examples: str) -> Any:
    """Add a command; return its parser."""
    shown = "\n".join(f"  wsroom {example}" for example in examples)
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
