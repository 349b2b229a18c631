"""Speaking ASGI with the server and with apps behind ours; knows neither rooms nor events."""
