"""Adapters, which carry emissions between workers, and the types that writing one needs."""

from wsroom.adapters.base import Adapter as Adapter
from wsroom.adapters.memory import MemoryAdapter as MemoryAdapter
from wsroom.adapters.presence import PresenceAdapter as PresenceAdapter
from wsroom.stats import AdapterStats as AdapterStats
from wsroom.wire.emission import EMIT as EMIT
from wsroom.wire.emission import PRESENCE as PRESENCE
from wsroom.wire.emission import RESYNC as RESYNC
from wsroom.wire.emission import Deliver as Deliver
from wsroom.wire.emission import Emission as Emission
from wsroom.wire.emission import Past as Past
from wsroom.wire.emission import Room as Room
from wsroom.wire.offsets import Offset as Offset
