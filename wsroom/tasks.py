"""Names of the tasks that run for a socket.

They help whoever debugs an app; the test client tells by them what is idle.
"""

from __future__ import annotations

READING = "wsroom: reads beside a handler"
WAITING = "wsroom: waits for a frame"
HANDLING = "wsroom: concurrent handler"
WRITING = "wsroom: writes to a socket"
