"""ASGI with the server and with other apps: handshakes, answers, lifespans. No rooms or events."""
