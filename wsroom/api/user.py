"""`Socket[User]` and `Emitter[User]`: the type of `socket.user`, which only type checkers know."""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing import Any, Generic

    import typing_extensions

    User = typing_extensions.TypeVar("User", default=Any, covariant=True)

    class WithUser(Generic[User]):
        """A class with the type of its user as the parameter; without it, Any."""

else:
    # Type variables have defaults since Python 3.13 only, and wsroom does not require
    # typing_extensions. The standard library does it like this, for example in queue.Queue.
    User = TypeVar("User")

    class WithUser:
        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)
