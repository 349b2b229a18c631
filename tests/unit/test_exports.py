"""The public names, pinned."""

from __future__ import annotations

import wsroom
import wsroom.adapters
import wsroom.rooms
import wsroom.testing
import wsroom.testing.contract


def test_the_public_names_are_these() -> None:
    """A name comes in here on purpose, and never leaves by accident."""
    assert wsroom.__all__ == [
        "Adapter",
        "AdapterError",
        "AsyncPublisher",
        "BlockingEmitter",
        "BlockingSocket",
        "Controller",
        "Disconnect",
        "Emitter",
        "Limits",
        "MemoryAdapter",
        "Publisher",
        "RedisAdapter",
        "Reject",
        "Router",
        "SetupError",
        "Socket",
        "Stats",
        "Target",
        "WSRoom",
        "WSRoomError",
        "__version__",
        "on",
    ]


def test_what_an_adapter_needs_is_in_one_place() -> None:
    """`wsroom.adapters` has the base class and every type that it mentions."""
    assert {name for name in vars(wsroom.adapters) if name[0].isupper()} == {
        "Adapter", "AdapterStats", "Deliver", "EMIT", "Emission", "MemoryAdapter", "Offset",
        "PRESENCE", "Past", "PresenceAdapter", "RESYNC", "Room",
    }  # fmt: skip
    assert wsroom.adapters.Adapter is wsroom.Adapter


def test_room_can_be_imported_from_its_former_place() -> None:
    """Code that was written for the former place keeps working."""
    assert wsroom.rooms.Room is wsroom.adapters.Room


def test_the_names_for_tests_are_these() -> None:
    """The client for tests of apps, and the contract for tests of adapters."""
    assert wsroom.testing.__all__ == ["Refused", "TestClient", "TestConnection"]
    assert wsroom.testing.contract.__all__ == [
        "CHAT", "PATH", "AdapterContract", "HistoryContract", "PresenceContract", "Worker",
        "emission",
    ]  # fmt: skip


def test_every_public_name_has_a_docstring() -> None:
    """Public classes, functions and methods say what they promise."""
    for name in wsroom.__all__:
        value = getattr(wsroom, name)
        if name == "__version__":
            continue
        assert value.__doc__, name
        if isinstance(value, type):
            for attribute, member in vars(value).items():
                if callable(member) and not attribute.startswith("_"):
                    inherited = any(
                        getattr(getattr(base, attribute, None), "__doc__", None)
                        for base in value.__mro__
                    )
                    assert inherited, f"{name}.{attribute}"
