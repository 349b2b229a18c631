"""Values that travel, and their encoding: pure functions and values only, no I/O and no asyncio."""
