"""HTTP requests to the tests' servers."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.clock import SECOND
from tests.support.servers import Server


async def get(server: Server, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """Ask over HTTP; return the status and the response."""
    async with httpx.AsyncClient(timeout=10 * SECOND) as client:
        response = await client.request(method, server.url(path, "http"), **options)
        return response.status_code, response
