"""websockets' own server and its broadcast(), without compression."""

# mypy: ignore-errors
import sys

import orjson
import uvloop
from websockets.asyncio.server import broadcast, serve

connections = set()


async def chat(websocket):
    connections.add(websocket)
    try:
        async for message in websocket:
            data = orjson.loads(message)
            answer = {
                "event": data["event"],
                "message": data["message"],
                "sender": "x",
                "room": "chat",
            }
            text = orjson.dumps(answer).decode()
            if data["event"] == "echo":
                await websocket.send(text)
            else:
                broadcast(connections, text)
    finally:
        connections.discard(websocket)


async def main():
    async with serve(chat, "127.0.0.1", int(sys.argv[1]), compression=None) as server:
        await server.serve_forever()


uvloop.run(main())
