"""What clients get about the members of a room. No I/O and no asyncio here."""

from __future__ import annotations

from typing import Any

import orjson

from wsroom.presence.cards import page
from wsroom.presence.replica import Replica
from wsroom.wire.encoding import to_json
from wsroom.wire.protocol import PRESENCE, encode


def members_answer(replica: Replica, most: int, after: str | None = None) -> dict[str, Any]:
    """Return what a reply has about the members: `members` and `count`.

    Only `count` if there are more than `most`; `more` if the rest of them must be asked for.
    """
    count = len(replica.cards)
    if count > most:
        return {"count": count}
    members, more = page(replica.cards, after)
    return {"members": members, "count": count, **({"more": True} if more else {})}


def changes(room: str, replica: Replica, most: int) -> bytes | None:
    """Return the frame about the members that have changed since the last call; None without any.

    It has their final state, whether that is another one than before or not, so that clients can
    apply it twice.
    """
    touched = replica.take_touched()
    if not touched:
        return None
    count = len(replica.cards)
    message: dict[str, Any] = {"room": room, "count": count}
    if count <= most:
        cards = replica.cards
        here = {member: was for member, was in touched.items() if member in cards}
        message["joined"] = [cards[member] for member, was in here.items() if not was]
        message["left"] = [orjson.loads(member) for member in touched if member not in cards]
        message["changed"] = [cards[member] for member, was in here.items() if was]
    return encode(PRESENCE, message, room=room, default=to_json)
