"""One peer, from the handshake to the last hook, and what the connections of a worker share."""
