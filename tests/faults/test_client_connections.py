"""Clients whose connections break: each receives exactly what it missed."""

from __future__ import annotations

import pytest

from tests.faults.random_cuts import MEMBERS, cut_at_random, started

CUTS = 8


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["memory", "redis"])
async def test_every_member_is_cut_at_random(adapter: str) -> None:
    """Also twice in a row; members of two rooms, of the path, by on_connect, and publishers."""
    async with started(adapter) as run:
        report = await cut_at_random(run, CUTS)
    assert report.clean() and not any(run.gaps().values()), str(report)
    assert report.counts["recovered"] > CUTS * MEMBERS, str(report)
