"""Log lines that are not repeated."""

from __future__ import annotations

from wsroom.logs import LogOnce


def test_each_key_is_logged_once() -> None:
    """A key is due once, whatever other keys do."""
    once = LogOnce()
    assert [once.due("a"), once.due("b"), once.due("a"), once.due("b")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_key_is_due_again_after_the_interval() -> None:
    """The interval begins with the line that was logged last."""
    once = LogOnce(again_after=60.0)
    assert [once.due(now=at) for at in (5.0, 64.9, 65.0, 124.9, 125.0)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_reset_key_is_due_again() -> None:
    """`reset` returns whether a line had been logged."""
    once = LogOnce()
    assert not once.reset()
    assert once.due()
    assert once.reset()
    assert once.due()


def test_the_number_of_keys_is_bounded() -> None:
    """With all places taken, other keys are never due; one that is reset makes room."""
    once = LogOnce(most=2)
    assert [once.due(key) for key in "abc"] == [True, True, False]
    once.reset("a")
    assert once.due("c")
