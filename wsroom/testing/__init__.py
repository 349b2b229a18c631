"""Tools for tests: a client without a server or a port, and the contract of adapters."""

from wsroom.testing.client import TestClient as TestClient
from wsroom.testing.connection import Refused as Refused
from wsroom.testing.connection import TestConnection as TestConnection

__all__ = ["Refused", "TestClient", "TestConnection"]
