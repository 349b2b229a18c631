"""Pings for many connections with one timer; no timer, no task and no ping payload for each."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import Protocol

SLOTS_PER_SECOND = 32
"""Connections that are due within the same 31 ms are pinged in one tick."""

PING = 0x89  # a whole ping (RFC 6455, section 5.5.2)
_PAYLOAD_SIZE = 4
_NEVER = sys.maxsize


class Pinged(Protocol):
    """A connection that is pinged. The attributes belong to its `Keepalive`."""

    slot: int | None
    """When something is due, in 32nds of a second; None if nothing is."""
    ping: bytes | None
    """The payload of the ping that has not been answered."""
    left: int | None
    """The time left for the answer while `Keepalive.hold` stops the clock."""

    def send_ping(self, frame: bytes) -> bool:
        """Send a frame; return whether the connection is open."""

    def ping_timeout(self) -> None:
        """Close the connection: its peer has not answered."""


class Keepalive:
    """Pings connections, and closes those whose peers do not answer.

    The next ping is sent `interval` after the last, once that was answered. All times are exact to
    31 ms, beside the delays of the event loop.

    Args:
        interval: seconds between two pings; must be above 0.
        timeout: seconds that a peer has to answer; None for no limit.

    """

    def __init__(self, interval: float, timeout: float | None) -> None:
        self._interval = interval
        self._timeout = timeout
        self._slots: dict[int, set[Pinged]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = _NEVER
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, peer: Pinged) -> None:
        """Ping `peer` from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A mounted app is not notified when its loop ends and another one begins.
            self._loop, self._timer, self._next, self._slots = loop, None, _NEVER, {}
        self._put(peer, self._now() + _slots(self._interval))

    def remove(self, peer: Pinged) -> None:
        """Ping `peer` no more."""
        self._take(peer)
        peer.ping = peer.left = None

    def answered(self, peer: Pinged, payload: bytes) -> bool:
        """Return whether `payload` is that of the ping that is not answered yet."""
        if peer.ping is None or payload != peer.ping:
            return False
        peer.ping = None
        if self._timeout is not None:
            due = self._take(peer)
            if due is None:
                due = self._now() + (peer.left or 0)
            peer.left = None
            sent = due - _slots(self._timeout)
            self._put(peer, max(sent + _slots(self._interval), self._now() + 1))
        return True

    def hold(self, peer: Pinged) -> None:
        """Stop the clock of the answer: nothing is read from `peer`."""
        if peer.ping is not None and self._timeout is not None:
            due = self._take(peer)
            if due is not None:
                peer.left = max(due - self._now(), 1)

    def resume(self, peer: Pinged) -> None:
        """Let the clock of the answer go on."""
        if peer.left is not None:
            self._put(peer, self._now() + peer.left)
            peer.left = None

    def stop(self) -> None:
        """Ping nobody any more."""
        self._slots.clear()
        self._set_timer(_NEVER)

    def _now(self) -> int:
        assert self._loop is not None
        return int(self._loop.time() * SLOTS_PER_SECOND)

    def _put(self, peer: Pinged, slot: int) -> None:
        peer.slot = slot
        self._slots.setdefault(slot, set()).add(peer)
        if slot < self._next:
            self._set_timer(slot)

    def _take(self, peer: Pinged) -> int | None:
        slot, peer.slot = peer.slot, None
        if slot is not None and slot in self._slots:
            self._slots[slot].discard(peer)
        return slot

    def _set_timer(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next = slot
        if self._loop is not None and slot != _NEVER:
            # A slot is over when it is looked at, so nothing comes early.
            self._timer = self._loop.call_at((slot + 1) / SLOTS_PER_SECOND, self._check)

    def _check(self) -> None:
        now = self._next = self._now()  # what is due later sets no timer until all are done
        payload = secrets.token_bytes(_PAYLOAD_SIZE)
        frame = bytes((PING, _PAYLOAD_SIZE)) + payload
        try:
            for slot in sorted(slot for slot in self._slots if slot < now):
                for peer in self._slots.pop(slot):
                    peer.slot = None
                    self._act(peer, payload, frame)
        finally:
            self._set_timer(min(self._slots, default=_NEVER))

    def _act(self, peer: Pinged, payload: bytes, frame: bytes) -> None:
        if peer.ping is not None and self._timeout is not None:
            peer.ping = None
            peer.ping_timeout()
        elif peer.send_ping(frame):
            peer.ping = payload
            wait = self._interval if self._timeout is None else self._timeout
            self._put(peer, self._now() + _slots(wait))


def _slots(seconds: float) -> int:
    return max(1, round(seconds * SLOTS_PER_SECOND))
