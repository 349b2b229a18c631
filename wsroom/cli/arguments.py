"""What the commands have in common, and the values that they take."""

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


def port(text: str) -> int:
    """Return a port; raises ArgumentTypeError if it is invalid."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds; raises ArgumentTypeError if it is invalid."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.1 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is invalid; use seconds from 0.1 to 3600")
    return number
