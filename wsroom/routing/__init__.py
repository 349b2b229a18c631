"""Which of the app's functions answers what: pure tables, no I/O and no asyncio."""
