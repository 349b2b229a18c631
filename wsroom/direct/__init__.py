"""The fast way to and from the bytes of a connection, on servers whose parts are known."""
