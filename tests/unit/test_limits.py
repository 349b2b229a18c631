"""Limits and the token bucket."""

from __future__ import annotations

import pytest

from wsroom import Limits, SetupError
from wsroom.connection.inbox import TokenBucket


@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_positive(value: int) -> None:
    """Zero and negative limits raise SetupError, with the name of the limit."""
    with pytest.raises(SetupError, match=r"Limits\.rooms_per_socket is"):
        Limits(rooms_per_socket=value)


def test_a_token_bucket_refills_at_its_rate() -> None:
    """It allows a burst at once, then its rate, and never more than the burst."""
    bucket = TokenBucket(rate=2, burst=3, now=100)
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(100.25) is False
    assert bucket.take(100.5) is True
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]
