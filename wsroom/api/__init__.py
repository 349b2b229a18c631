"""The objects that the app's functions hold: targets, emitters and sockets."""
