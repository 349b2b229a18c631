"""A Django Channels consumer on uvicorn, with the in-memory layer, or with Redis."""

# mypy: ignore-errors
# ruff: noqa: E402
import os

import django
from django.conf import settings

layer = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 100_000}}
if "REDIS_URL" in os.environ:
    # The faster one of its two.
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    }
settings.configure(
    DEBUG=False,
    SECRET_KEY="x",
    INSTALLED_APPS=["channels"],
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={"default": layer},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("chat", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard("chat", self.channel_name)

    async def receive_json(self, data):
        answer = {"event": data["event"], "message": data["message"], "sender": "x", "room": "chat"}
        if data["event"] == "echo":
            await self.send_json(answer)
        else:
            await self.channel_layer.group_send("chat", {"type": "chat.message", "answer": answer})

    async def chat_message(self, message):
        await self.send_json(message["answer"])


app = ProtocolTypeRouter({"websocket": Chat.as_asgi()})
