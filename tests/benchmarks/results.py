"""The figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.servers import Figures


@dataclass
class Run:
    """All figures of one run: by scenario, peer and round."""

    machine: str
    seconds: float
    rounds: int
    idle: int
    figures: dict[tuple[str, str], dict[int, Figures]] = field(default_factory=dict)
    failures: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)

    def add(self, number: int, name: str, peer: str, figures: Figures) -> None:
        self.figures.setdefault((name, peer), {})[number] = figures

    def fail(self, number: int, name: str, peer: str, why: str) -> None:
        self.failures.setdefault((name, peer), {})[number] = why

    def peers(self, name: str) -> list[str]:
        return [peer for known, peer in {**self.figures, **self.failures} if known == name]

    def get(self, name: str, peer: str, figure: str) -> float | None:
        rounds = self.figures.get((name, peer), {}).values()
        values = [figures[figure] for figures in rounds if figure in figures]
        return median(values) if values else None

    def compare(
        self,
        one: tuple[str, str],
        other: tuple[str, str] | None,
        figure: str,
        how: Callable[[float, float], float],
    ) -> list[float]:
        """Compare two figures within each round; give the one where there is no other."""
        ones = self.figures.get(one, {})
        if other is None:
            return [figures[figure] for figures in ones.values()]
        others = self.figures.get(other, {})
        return [
            how(ones[number][figure], others[number][figure])
            for number in ones
            if number in others and others[number][figure]
        ]

    def rounds_of(self, name: str, peer: str, figures: Iterable[str]) -> dict[str, object]:
        """Give these figures of each round, and why a round has none."""
        rounds = self.figures.get((name, peer), {}).values()
        told: dict[str, object] = {
            figure: values
            for figure in figures
            if (values := [round(one[figure], 3) for one in rounds if figure in one])
        }
        if failures := self.failures.get((name, peer)):
            told["failures"] = list(failures.values())
        return told
