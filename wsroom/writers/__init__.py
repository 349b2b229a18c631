"""How bytes leave a socket: in order, and without making anybody wait."""

from wsroom.writers.base import WRITING as WRITING
from wsroom.writers.base import Owner as Owner
from wsroom.writers.send import SendWriter as SendWriter
from wsroom.writers.transport import TransportWriter as TransportWriter
