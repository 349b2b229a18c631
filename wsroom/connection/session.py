"""A client's session, which it continues on its next connection, and its room frames until then."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping

from wsroom.connection.replay_buffer import ReplayBuffer
from wsroom.delivery.hub import Hub
from wsroom.delivery.pending_joins import Joined
from wsroom.delivery.writer import WriteFailureHandler, Writer
from wsroom.wire.emission import Room
from wsroom.wire.offsets import Offset


class Session:
    """The session of one client: created for its connection, or continued by a `resume`.

    It owns the replay buffer; other modules use the buffer through it.
    """

    __slots__ = (
        "_by_app",
        "_hash",
        "_hub",
        "_id",
        "_offsets",
        "_resumed",
        "buffer",
        "recovered",
        "secret",
    )

    def __init__(self, hub: Hub, id: str) -> None:
        self.secret = secrets.token_urlsafe(16)
        """Known to this client only."""
        self.buffer: ReplayBuffer | None = None
        """Keeps room frames until the first frame, or a `resume`, has been handled."""
        self.recovered: frozenset[str] = frozenset()
        """The rooms of which no message is missing."""
        self._hash = ""
        self._hub = hub
        self._id = id
        self._resumed = False
        self._offsets: dict[str, Offset] | None = None  # an empty dictionary takes 64 bytes
        # Rooms that only the app joined, and the offset up to which they have not been delivered.
        self._by_app: tuple[tuple[str, Offset], ...] = ()

    def hash(self) -> str:
        """Return the hash of the secret, which others may know and history keeps."""
        if not self._hash:
            self._hash = hashlib.blake2b(self.secret.encode(), digest_size=12).hexdigest()
        return self._hash

    def resume(self, secret: str) -> None:
        """Continue the session of an earlier connection."""
        self._end_resumed()
        self.secret = secret
        self._hash = ""
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
        self.note_asked(room.name)
        if self.buffer is not None:
            self.buffer.forget(room)

    def _end_resumed(self) -> None:
        if self._resumed:
            self._resumed = False
            self._hub.recipients.remove_session(self._id, self.hash())

    # -- rooms that the app joined ---------------------------------------------------------

    def note_join(self, room: str, joined: Joined, *, opening: bool) -> None:
        """Note that the app joined a room that has a history, before `connected` if `opening`."""
        assert joined.since is not None
        if opening:
            self._offsets = {**(self._offsets or {}), room: joined.since}
        live_since, first = joined.since, joined.first
        if first is not None:
            live_since = Offset(first.epoch, first.seq - 1)
        self._by_app = (*self._by_app, (room, live_since))

    def live_since(self, room: str) -> Offset | None:
        """Return the offset after which everything was delivered, for a room of the app's.

        None if the client has asked to join it too, or if there is no history.
        """
        for name, offset in self._by_app:
            if name == room:
                return offset
        return None

    def note_asked(self, room: str) -> Offset | None:
        """Note that the client has asked to join a room; return what `live_since` returned."""
        offset = self.live_since(room)
        if offset is not None:
            self._by_app = tuple([each for each in self._by_app if each[0] != room])
        return offset

    def take_offsets(self, rooms: Collection[str]) -> dict[str, str]:
        """Return the noted offsets of `rooms`, and forget all of them."""
        offsets, self._offsets = self._offsets or {}, None
        return {room: str(offset) for room, offset in offsets.items() if room in rooms}

    # -- the replay buffer -----------------------------------------------------------------

    def start_buffering(
        self, writer: Writer, connection: WriteFailureHandler, room: Room | None = None
    ) -> None:
        """Keep the socket's room frames from now on, or only those of `room`."""
        limit = self._hub.limits.write_buffer
        self.buffer = ReplayBuffer(self._hub, writer, limit, connection, room)
        self._hub.replace(self.buffer)

    def hold(self, room: Room, writer: Writer, connection: WriteFailureHandler) -> None:
        """Keep the socket's frames of this room only, until `end_replay`."""
        self.start_replay(writer, connection, room)

    def release_after(self, seconds: float) -> None:
        """Write the kept frames after `seconds`, unless a replay has begun by then."""
        if self.buffer is not None:
            self.buffer.release_after(seconds)

    def release(self) -> None:
        """Write the kept frames and stop keeping them; does nothing without a buffer."""
        if self.buffer is not None:
            self.buffer.release()
            self.buffer = None

    def start_replay(
        self, writer: Writer, connection: WriteFailureHandler, room: Room | None = None
    ) -> bool:
        """Keep frames, or only those of `room`, until the replay ends.

        Return whether they were kept already.
        """
        buffered = self.buffer is not None and self.buffer.active
        if not buffered:
            self.start_buffering(writer, connection, room)
        assert self.buffer is not None
        self.buffer.replaying = True
        if room is not None:
            self.buffer.keep_only(room)
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
