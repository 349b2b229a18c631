"""What a client knows of the members of a room, from the frames that it got."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def known_members(frames: Iterable[dict[str, Any]], room: str) -> dict[Any, Any]:
    """Return the cards by id; apply the frames as docs/protocol.md says."""
    members: dict[Any, Any] = {}
    for frame in frames:
        event, message = frame["event"], frame["message"] or {}
        if event in ("reply", "joinedRoom") and message.get("room") == room:
            members = {card["id"]: card for card in message.get("members", ())}
        elif event == "presence" and message["room"] == room:
            members |= {card["id"]: card for card in message["joined"] + message["changed"]}
            for id in message["left"]:
                members.pop(id, None)
            assert message["count"] == len(members), frame
    return members
