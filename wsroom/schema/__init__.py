"""From annotations to checks, AsyncAPI and types for clients. Pure: no I/O and no asyncio."""
