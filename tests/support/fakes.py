"""Replacements for objects that a class under test uses."""

from __future__ import annotations

import asyncio

from wsroom import MemoryAdapter
from wsroom.adapters import Offset, Room


class Owner:
    """The connection of a writer under test; records why the writer gave up."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.asked = asyncio.Event()

    def give_up(self, code: int, reason: str) -> None:
        self.codes.append(code)
        self.asked.set()


class GatedAdapter(MemoryAdapter):
    """Confirms subscriptions only while `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked: list[str] = []

    async def subscribe(self, room: Room) -> Offset | None:
        if room.path:  # otherwise it is the worker's own room
            self.asked.append(room.name)
            await self.gate.wait()
        return None
