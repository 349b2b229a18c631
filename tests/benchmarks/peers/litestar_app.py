"""Litestar's channels plugin on uvicorn, with the memory backend, or with Redis."""

# mypy: ignore-errors
import os

import orjson
from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from redis.asyncio import Redis

backend = MemoryChannelsBackend()
if "REDIS_URL" in os.environ:
    backend = RedisChannelsPubSubBackend(redis=Redis.from_url(os.environ["REDIS_URL"]))
plugin = ChannelsPlugin(backend=backend, channels=["chat"])


@websocket("/")
async def chat(socket: WebSocket, channels: ChannelsPlugin) -> None:
    await socket.accept()
    async with (
        channels.start_subscription(["chat"]) as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        while True:
            data = orjson.loads(await socket.receive_text())
            answer = {
                "event": data["event"],
                "message": data["message"],
                "sender": "x",
                "room": "chat",
            }
            payload = orjson.dumps(answer)
            if data["event"] == "echo":
                await socket.send_text(payload.decode())
            else:
                channels.publish(payload, "chat")


app = Litestar(route_handlers=[chat], plugins=[plugin])
