"""What a careful user writes by hand: raw ASGI on uvicorn, one `await send` per member."""

# mypy: ignore-errors
import orjson

members = set()
rooms = {}


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    members.add(send)
    mine = set()
    try:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            data = orjson.loads(message["text"])
            event, content = data["event"], data["message"]
            answer = {"event": event, "message": content, "sender": "x", "room": "chat"}
            text = orjson.dumps(answer).decode()
            if event == "move":
                for member in list(rooms[content["room"]]):
                    if member is not send:
                        await member({"type": "websocket.send", "text": text})
            elif event == "echo":
                await send({"type": "websocket.send", "text": text})
            elif event == "join":
                rooms.setdefault(content, set()).add(send)
                mine.add(content)
                await send({"type": "websocket.send", "text": text})
            else:
                for member in list(members):
                    await member({"type": "websocket.send", "text": text})
    finally:
        members.discard(send)
        for room in mine:
            rooms[room].discard(send)
