"""Names of the tasks that run for a socket.

They help to debug an app, and the test client recognizes by them when the app is idle.
"""

from __future__ import annotations

READING = "wsroom: reads while a handler runs"
WAITING = "wsroom: waits for a frame"
CHANGING = "wsroom: changing the members of a room"
HANDLING = "wsroom: concurrent handler"
WRITING = "wsroom: writes to a socket"
