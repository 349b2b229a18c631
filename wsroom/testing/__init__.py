"""What tests of an app need: a client without a server and a port."""

from wsroom.testing.client import TestClient as TestClient
from wsroom.testing.connection import Refused as Refused
from wsroom.testing.connection import TestConnection as TestConnection

__all__ = ["Refused", "TestClient", "TestConnection"]
