"""How bytes leave a socket: in order, and without making anybody wait."""

from wsroom.writers.base import WRITING as WRITING
from wsroom.writers.base import GiveUp as GiveUp
from wsroom.writers.send import SendWriter as SendWriter
from wsroom.writers.transport import TransportWriter as TransportWriter
