"""Cards: from what the app returns to what the members see. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from wsroom.wire.encoding import JsonDefault
from wsroom.wire.presence import Card, Cards, changed_card, member_key

MAX_CARD = 1024
"""Bytes of a card, as JSON."""

MAX_REPLY = 256 * 1024
"""Bytes of the cards in one reply."""


class Present(NamedTuple):
    """A member: its key, and its card."""

    member: str
    card: Card


def read_card(value: Any, default: JsonDefault) -> Present | None:
    """Read what the app has returned as a card; None is a socket that is not shown.

    Raises:
        ValueError: it is not an object with an `id` that is a string or an integer, or it is over
            1 KiB.
        TypeError: JSON has no form for it.

    """
    if value is None:
        return None
    card = _loaded(value, default)
    id = card.get("id")
    if type(id) is not str and type(id) is not int:
        raise ValueError(f"a card needs an id, a string or an integer, not {id!r}")
    return Present(member_key(id), card)


def read_values(values: Mapping[str, Any], default: JsonDefault) -> dict[str, Any]:
    """Read what the app wants to change of a card; raises what `read_card` raises."""
    if "id" in values:
        raise ValueError("the id of a card cannot be changed")
    return _loaded(values, default)


def merged(card: Card, values: Mapping[str, Any]) -> Card:
    """Return a card with other values, of which None removes one; raises ValueError over 1 KiB."""
    new = changed_card(card, values)
    _check_size(orjson.dumps(new))
    return new


def _loaded(value: Any, default: JsonDefault) -> dict[str, Any]:
    encoded = orjson.dumps(value, default)
    _check_size(encoded)
    card = orjson.loads(encoded)
    if type(card) is not dict:
        raise ValueError(f"a card must be an object, not {card!r:.100}")
    return card


def _check_size(encoded: bytes) -> None:
    if len(encoded) > MAX_CARD:
        raise ValueError(f"a card has {len(encoded)} bytes; at most {MAX_CARD} are allowed")


def page(cards: Cards, after: str | None = None) -> tuple[list[Card], bool]:
    """Return the cards after a member, in the order of their keys, and whether more follow."""
    size, chosen = 0, list[Card]()
    for member in sorted(cards):
        if after is not None and member <= after:
            continue
        size += len(orjson.dumps(cards[member])) + 1
        if size > MAX_REPLY:
            return chosen, True
        chosen.append(cards[member])
    return chosen, False
