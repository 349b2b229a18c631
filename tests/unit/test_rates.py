"""Rates of events: their texts, what is allowed at once and later, and who is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from wsroom import Limits, SetupError
from wsroom.rates import EventRate, Pauses, Rate, Usage


@pytest.mark.parametrize(
    ("text", "interval", "burst"),
    [("10/s", 0.1, 1), ("1/s", 1, 1), ("30/min", 2, 60), ("100/h", 36, 3600)],
)
def test_a_text_is_a_rate(text: str, interval: float, burst: float) -> None:
    """So many in that time, and as many at once."""
    rate = Rate.parse(text)
    assert rate.interval == pytest.approx(interval)
    assert rate.burst == pytest.approx(burst, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["", "10", "0/s", "10/d", "1.5/s", " 1/s", "-1/s", "٣/s", 10, b"1/s"]
)
def test_another_text_is_refused(text: Any) -> None:
    """The error shows what is right."""
    with pytest.raises(SetupError, match='use a text such as "10/s"'):
        Rate.parse(text)


def test_as_many_are_allowed_at_once_and_then_one_by_one() -> None:
    """The wait is the time until one more is allowed; what is refused is not used."""
    usage, limit = Usage(), EventRate("4/s", None)
    assert [usage.take(limit, None, 1000.0) for _ in range(4)] == [0, 0, 0, 0]
    assert usage.take(limit, None, 1000.0) == pytest.approx(0.25, abs=1e-5)
    assert usage.take(limit, None, 1000.1) == pytest.approx(0.15, abs=1e-5)
    assert usage.take(limit, None, 1000.25) == 0
    assert usage.take(limit, None, 1000.25) > 0
    assert [usage.take(limit, None, 1002.0) for _ in range(4)] == [0, 0, 0, 0]


def test_users_and_handlers_are_counted_by_themselves() -> None:
    """Handlers of the same rate, too."""
    usage, first, second = Usage(), EventRate("1/s", None), EventRate("1/s", None)
    assert [usage.take(first, user, 5.0) for user in "ab"] == [0, 0]
    assert usage.take(second, "a", 5.0) == 0
    assert usage.take(first, "a", 5.0) > 0
    assert usage.take(first, "b", 5.0) > 0
    assert usage.take(first, "c", 5.0) == 0


def test_users_who_have_nothing_to_wait_for_are_forgotten() -> None:
    """However many there were, only those of the last time of the rate are kept."""
    usage, limit = Usage(), EventRate("2/s", None)
    for number in range(10_000):
        assert usage.take(limit, number, now=number / 10) == 0
    assert len(usage._due[limit]) < 20


def test_a_cursor_is_within_the_default_limit() -> None:
    """60 frames a second for an hour, in eighths of the burst, and a burst before."""
    limits = Limits()
    rate, part = Rate.of(limits.frames, limits.burst), limits.burst // 8
    due = rate.after(0.0, 0.0, limits.burst - part)
    for number in range(3600 * 60 // part):
        now = number * part / 60
        due = rate.after(due, now, part)
        assert rate.wait(due, now) == 0


def test_pauses_add_up_until_a_second_passes_without_one() -> None:
    """So a client that is over the limit now and then is not closed."""
    pauses = Pauses()
    assert pauses.add(0.25, 100.0) == 0.25
    assert pauses.add(0.5, 100.25) == 0.75
    assert pauses.add(0.5, 101.7) == 1.25
    assert pauses.add(0.5, 103.3) == 0.5
