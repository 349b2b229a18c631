"""A handshake's headers in one piece. No I/O and no asyncio here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

Header = tuple[bytes, bytes]


class JoinedHeaders(Sequence[Header]):
    """ASGI's list of headers, kept as one bytes object: a browser's take 2 kB as a list.

    A header contains no line feed (RFC 9110, section 5.5), so it separates them.
    """

    __slots__ = ("_joined",)

    def __init__(self, headers: Iterable[Header]) -> None:
        self._joined = b"\n".join([name + b":" + value for name, value in headers])

    def _list(self) -> list[Header]:
        lines = self._joined.split(b"\n") if self._joined else []
        return [(name, value) for name, _, value in (line.partition(b":") for line in lines)]

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> list[Header]: ...
    def __getitem__(self, index: int | slice) -> Header | list[Header]:
        return self._list()[index]

    def __len__(self) -> int:
        return len(self._list())

    def __repr__(self) -> str:
        return repr(self._list())
