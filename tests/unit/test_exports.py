"""The public names, pinned."""

from __future__ import annotations

import wsroom


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
        "Target",
        "WSRoom",
        "WSRoomError",
        "__version__",
        "on",
    ]


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
