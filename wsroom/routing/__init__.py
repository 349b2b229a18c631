"""Tables of the app's functions: which one handles what. Pure: no I/O and no asyncio."""
