"""Who is in a room: the members, as the sockets of one worker see them."""
