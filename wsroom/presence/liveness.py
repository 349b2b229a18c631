"""Which workers are dead, by their signs of life. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Mapping

ROUNDS = 4
"""Rounds without a sign of life after which a worker is dead."""


class Liveness:
    """Observes the counters of all workers, in rounds in which all of them could be read."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # the counter, and rounds since it has grown

    def observe(self, counters: Mapping[str, int]) -> None:
        """Note what one round has read."""
        for worker in self._seen.keys() | counters.keys():
            count = counters.get(worker, 0)
            before, rounds = self._seen.get(worker, (-1, 0))
            self._seen[worker] = (count, rounds + 1 if count == before else 0)
        for worker, (count, rounds) in list(self._seen.items()):
            if not count and rounds > 2 * ROUNDS:
                del self._seen[worker]

    def interrupt(self) -> None:
        """Note that a round has failed: begin to count again."""
        self._seen = {worker: (count, 0) for worker, (count, _) in self._seen.items()}

    def expect(self, worker: str) -> None:
        """Observe a worker that may not have a counter any more."""
        self._seen.setdefault(worker, (0, 0))

    def dead(self, worker: str) -> bool:
        """Return whether a worker is dead."""
        return self._seen.get(worker, (0, 0))[1] >= ROUNDS
