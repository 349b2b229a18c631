"""Adapters carry emissions between workers; `memory` serves one process."""

from wsroom.adapters.base import Adapter as Adapter
from wsroom.adapters.base import Deliver as Deliver
from wsroom.adapters.base import Emission as Emission
from wsroom.adapters.base import Past as Past
from wsroom.adapters.memory import MemoryAdapter as MemoryAdapter
