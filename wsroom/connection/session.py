"""What a client takes along to its next connection, and how far this one has caught up."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection

from wsroom.connection.replay_buffer import Hold
from wsroom.delivery.hub import Hub, Member
from wsroom.delivery.writer import Owner
from wsroom.wire.offsets import Offset


class Session:
    """What is kept of one client: made for its connection, or taken over by a `resume`."""

    __slots__ = ("_hub", "_id", "_offsets", "_resumed", "hold", "recovered", "secret")

    def __init__(self, hub: Hub, id: str) -> None:
        self.secret = secrets.token_urlsafe(16)
        """Known to this client alone."""
        self.hold: Hold | None = None
        """What keeps room frames, until the first frame or a `resume` has been handled."""
        self.recovered: frozenset[str] = frozenset()
        """The rooms of whose past nothing is missing."""
        self._hub = hub
        self._id = id
        self._resumed = False
        self._offsets: dict[str, Offset] | None = None  # an empty one takes 64 bytes

    def hash(self) -> str:
        """What others may know of it, and history keeps."""
        return hashlib.blake2b(self.secret.encode(), digest_size=12).hexdigest()

    def take(self, secret: str) -> None:
        """Go on as the client of an earlier connection."""
        self._forget()
        self.secret = secret
        self._resumed = True
        self._hub.begin_session(self._id, self.hash())

    def joined_at(self, room: str, offset: Offset) -> None:
        """Note where a room stood that was joined before `connected`."""
        self._offsets = {**(self._offsets or {}), room: offset}

    def told(self, rooms: Collection[str]) -> dict[str, str]:
        """Tell, once, where those of `rooms` stood that were joined before `connected`."""
        offsets, self._offsets = self._offsets or {}, None
        return {room: str(offset) for room, offset in offsets.items() if room in rooms}

    def start_hold(self, writer: Member, owner: Owner) -> Hold:
        """Keep the socket's room frames from now on."""
        self.hold = Hold(self._hub, writer, self._hub.limits.write_buffer, owner)
        self._hub.replace(self.hold)
        return self.hold

    def end(self) -> None:
        """The connection is over."""
        self._forget()
        if self.hold is not None:
            self.hold.stop()

    def _forget(self) -> None:
        if self._resumed:
            self._resumed = False
            self._hub.end_session(self._id, self.hash())
