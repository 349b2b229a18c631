"""A client's session, which it continues on its next connection, and its room frames until then."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping

from wsroom.connection.replay_buffer import ReplayBuffer
from wsroom.delivery.hub import Hub
from wsroom.delivery.writer import WriteFailureHandler, Writer
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset


class Session:
    """The session of one client: created for its connection, or continued by a `resume`.

    It owns the replay buffer; other modules use the buffer through it.
    """

    __slots__ = ("_hub", "_id", "_offsets", "_resumed", "buffer", "recovered", "secret")

    def __init__(self, hub: Hub, id: str) -> None:
        self.secret = secrets.token_urlsafe(16)
        """Known to this client only."""
        self.buffer: ReplayBuffer | None = None
        """Keeps room frames until the first frame, or a `resume`, has been handled."""
        self.recovered: frozenset[str] = frozenset()
        """The rooms of which no message is missing."""
        self._hub = hub
        self._id = id
        self._resumed = False
        self._offsets: dict[str, Offset] | None = None  # an empty dictionary takes 64 bytes

    def hash(self) -> str:
        """Return the hash of the secret, which others may know and history keeps."""
        return hashlib.blake2b(self.secret.encode(), digest_size=12).hexdigest()

    def resume(self, secret: str) -> None:
        """Continue the session of an earlier connection."""
        self._end_resumed()
        self.secret = secret
        self._resumed = True
        self._hub.recipients.add_session(self._id, self.hash())

    def end(self) -> None:
        """End the session on this worker: the connection is over."""
        self._end_resumed()
        if self.buffer is not None:
            self.buffer.stop()

    def left(self, room: Room) -> None:
        """Note that the socket left a room: drop what is kept of it."""
        self.recovered -= {room.name}
        if self.buffer is not None:
            self.buffer.forget(room)

    def _end_resumed(self) -> None:
        if self._resumed:
            self._resumed = False
            self._hub.recipients.remove_session(self._id, self.hash())

    # -- offsets for `connected` -----------------------------------------------------------

    def note_join(self, room: str, offset: Offset) -> None:
        """Note the offset of a room that was joined before `connected`."""
        self._offsets = {**(self._offsets or {}), room: offset}

    def take_offsets(self, rooms: Collection[str]) -> dict[str, str]:
        """Return the noted offsets of `rooms`, and forget all of them."""
        offsets, self._offsets = self._offsets or {}, None
        return {room: str(offset) for room, offset in offsets.items() if room in rooms}

    # -- the replay buffer -----------------------------------------------------------------

    def start_buffering(self, writer: Writer, connection: WriteFailureHandler) -> None:
        """Keep the socket's room frames from now on."""
        limit = self._hub.limits.write_buffer
        self.buffer = ReplayBuffer(self._hub, writer, limit, connection)
        self._hub.replace(self.buffer)

    def release_after(self, seconds: float) -> None:
        """Write the kept frames after `seconds`, unless a replay has begun by then."""
        if self.buffer is not None:
            self.buffer.release_after(seconds)

    def release(self) -> None:
        """Write the kept frames and stop keeping them; does nothing without a buffer."""
        if self.buffer is not None:
            self.buffer.release()
            self.buffer = None

    def start_replay(self, writer: Writer, connection: WriteFailureHandler) -> bool:
        """Keep frames until the replay ends; return whether they were kept already."""
        buffered = self.buffer is not None and self.buffer.active
        if not buffered:
            self.start_buffering(writer, connection)
        assert self.buffer is not None
        self.buffer.replaying = True
        return buffered

    def write_until(self, offsets: Mapping[Room, Offset]) -> None:
        """Write the kept frames of these rooms up to the offsets; keep the rest."""
        if self.buffer is not None:
            self.buffer.write_until(offsets)

    def end_replay(self, replayed: Mapping[Room, Offset]) -> None:
        """Write the kept frames that were not replayed, without those that exclude this session.

        Args:
            replayed: the offset up to which each of these rooms has been replayed.

        """
        if self.buffer is not None:
            self.buffer.release(replayed, self.hash())
            self.buffer = None
