"""An adapter with PUBLISH and SUBSCRIBE only: no sequence, no history, and redis-py's retries.

The fault tests run against it too, and must detect that it loses and doubles messages.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from tests.support.clock import SECOND
from wsroom import Adapter, AdapterError
from wsroom.adapters import Offset
from wsroom.wire.emission import Deliver, Emission, Room


class PlainPubSubAdapter(Adapter):
    """Carries emissions through Redis as long as nothing fails."""

    def __init__(self, url: str, prefix: str = "pubsub") -> None:
        self._prefix = prefix
        retry = Retry(ConstantBackoff(SECOND), 5)
        self._redis: Any = Redis.from_url(url, socket_timeout=SECOND, retry=retry)
        self._hearing: Any = Redis.from_url(url)
        self._pubsub: Any = self._hearing.pubsub()
        self._confirmed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        await self._pubsub.subscribe(self._prefix)
        self._reader = asyncio.create_task(self._read())

    async def stop(self, deliver: Deliver) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._pubsub.aclose()
        await self._hearing.aclose()
        await self._redis.aclose()

    async def publish(self, emission: Emission) -> None:
        parts = [list(emission.room), None, *emission[2:], emission.payload.decode()]
        try:
            await self._redis.publish(self._name(emission.sequence), orjson.dumps(parts))
        except RedisError as exc:
            raise AdapterError(str(exc)) from exc

    async def subscribe(self, room: Room) -> Offset | None:
        name = self._name(room)
        await self._pubsub.subscribe(name)
        await self._confirmed[name].wait()
        return None

    def unsubscribe(self, room: Room) -> None:
        pass

    def _name(self, room: Room) -> str:
        return f"{self._prefix}:{room.path}:{room.name}"

    async def _read(self) -> None:
        while True:
            try:
                news = await self._pubsub.get_message(timeout=None)
            except RedisError:
                await asyncio.sleep(0)
                continue
            if news and news["type"] == "subscribe":
                self._confirmed[news["channel"].decode()].set()
            elif news and news["type"] == "message":
                room, _, rooms, socket, session, less, *rest, payload = orjson.loads(news["data"])
                emission = Emission(
                    Room(*room),
                    payload.encode(),
                    tuple(rooms),
                    socket,
                    session,
                    tuple(less),
                    *rest,
                )
                self._deliver(emission, None)
