"""How long the server and the Redis adapter wait for things. No I/O and no asyncio here.

Private: users bound their own code by `Limits`. Tests pass in shorter times.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times in seconds."""

    # -- one socket ------------------------------------------------------------------------

    read_beside_after: float = 1.0
    """How long the app's code runs before frames are read beside it."""
    grace: float = 5.0
    """How long the app's code may run after its peer has gone, and how long a close may take."""
    cancel_again_every: float = 1.0
    """Interval of cancellations after the grace, for code that catches them."""
    flood: float = 10.0
    """How long the frames of a socket that sends too many may wait, until it is closed."""
    hold: float = 5.0
    """How long room frames are held for a client's `resume`, or for a slow reader's replay."""
    unsent_check_interval: float = 1.0
    """Interval between two looks at sockets with unsent bytes."""
    abort_after: float = 5.0
    """How long a closing connection may take to send what is left."""
    replay_check_interval: float = 0.01
    """Interval between two looks at the unsent bytes of a socket, before more is replayed."""
    blocking_timeout: float = 10.0
    """How long a blocking method waits for the event loop."""

    # -- presence --------------------------------------------------------------------------

    presence_interval: float = 0.1
    """Interval between two frames about the members of one room."""
    presence_retry: float = 1.0
    """How long until a change of a table is sent again, or a change that did not come is read."""
    presence_lost: float = 10.0
    """How long the members of a lost table are shown, while workers enter theirs again."""
    presence_stamp: float = 3.0
    """Interval between two signs of life of a worker."""
    presence_check: float = 30.0
    """How long until a room's table is read again although nothing seems to be missing."""

    # -- Redis -----------------------------------------------------------------------------

    redis_timeout: float = 5.0
    """How long Redis has for an emission, a join or a read."""
    start_timeout: float = 4.5
    """How long Redis has to answer when an app starts."""
    connect_timeout: float = 2.0
    """How long one connection has for its handshake and the first answers."""
    heartbeat_interval: float = 2.0
    """Interval between two heartbeats."""
    unhealthy_after: float = 4.0
    """How long without a heartbeat until a server counts as unhealthy."""
    reconnect_after: float = 6.0
    """How long without a heartbeat until the connections are replaced."""
    refresh_interval: float = 0.5
    """Interval between two checks of the servers."""
    outage_after: float = 1.0
    """How long Redis must be unavailable before the log reports an outage."""
    retry_after: float = 0.05
    """How long until a command that was refused for a passing reason is sent again."""
    doubtful: float = 15.0
    """How long a server must have been confirmed as the master after it took an emission."""


DEFAULT_TIMING = Timing()
