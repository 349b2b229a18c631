"""A client for Python programs: bots, load tests, and servers that talk to servers.

`import wsroom` does not import this package; the first use of `wsroom.client` does.
"""

from wsroom.client.connect import connect as connect
from wsroom.client.events import Event as Event
from wsroom.client.events import Events as Events
from wsroom.client.room import ClientRoom as ClientRoom
from wsroom.client.socket import ClientSocket as ClientSocket
from wsroom.errors import ConnectionLost as ConnectionLost
from wsroom.errors import RequestError as RequestError

__all__ = [
    "ClientRoom",
    "ClientSocket",
    "ConnectionLost",
    "Event",
    "Events",
    "RequestError",
    "connect",
]
