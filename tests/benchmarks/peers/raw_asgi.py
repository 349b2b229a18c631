"""What a careful user writes by hand: raw ASGI on uvicorn, one `await send` per member."""

# mypy: ignore-errors
import orjson

members = set()


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    members.add(send)
    try:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            data = orjson.loads(message["text"])
            answer = {
                "event": data["event"],
                "message": data["message"],
                "sender": "x",
                "room": "chat",
            }
            text = orjson.dumps(answer).decode()
            if data["event"] == "echo":
                await send({"type": "websocket.send", "text": text})
            else:
                for member in list(members):
                    await member({"type": "websocket.send", "text": text})
    finally:
        members.discard(send)
