"""One peer, from handshake to last hook, and the state that the connections of a worker share."""
