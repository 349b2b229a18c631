"""Stands-in for what a part under test talks to."""

from __future__ import annotations

import asyncio


class Owner:
    """Stands for the connection of a writer that is tried alone."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.asked = asyncio.Event()

    def give_up(self, code: int, reason: str) -> None:
        self.codes.append(code)
        self.asked.set()
