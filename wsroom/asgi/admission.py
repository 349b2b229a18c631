"""Which connections are accepted: as many as the limits allow, and none once the app drains."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from wsroom.asgi.types import Scope
from wsroom.limits import Limits


def address_of(scope: Scope) -> str | None:
    """Return what counts as the address of a client; None if the server knows none.

    A host usually has a whole /64 network of IPv6, so that is one address.
    """
    client = scope.get("client")
    if not client:
        return None
    host = str(client[0])
    if ":" not in host:
        return host
    try:
        address = ip_address(host)
    except ValueError:
        return host
    assert isinstance(address, IPv6Address)
    mapped = address.ipv4_mapped
    return address.exploded[:19] if mapped is None else str(mapped)


class Admission:
    """Counts the connections of this worker, from their handshake to their last hook."""

    def __init__(self, limits: Limits) -> None:
        self.draining = False
        """Whether no connection is accepted any more."""
        self._most = limits.connections
        self._most_of_one = limits.connections_per_address
        self._open = 0
        self._open_by_address: dict[str, int] = {}

    def enter(self, scope: Scope) -> str | None:
        """Count a connection; return why it is refused instead, or None."""
        if self.draining:
            return "the server restarts; try again"
        if self._most is not None and self._open >= self._most:
            return "too many connections; try again later"
        address = self._counted_address(scope)
        if address is not None:
            of_one = self._open_by_address.get(address, 0)
            if self._most_of_one is not None and of_one >= self._most_of_one:
                return "too many connections from this address; try again later"
            self._open_by_address[address] = of_one + 1
        self._open += 1
        return None

    def leave(self, scope: Scope) -> None:
        """Stop counting a connection that was not refused."""
        self._open -= 1
        address = self._counted_address(scope)
        if address is not None:
            # The app may have changed the scope.
            if (rest := self._open_by_address.pop(address, 0) - 1) > 0:
                self._open_by_address[address] = rest

    def _counted_address(self, scope: Scope) -> str | None:
        return None if self._most_of_one is None else address_of(scope)
