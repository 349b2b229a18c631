"""The ConnectionManager of the FastAPI documentation: `await send_json` for each member."""

# mypy: ignore-errors
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

active = []


async def chat(websocket):
    await websocket.accept()
    active.append(websocket)
    try:
        while True:
            data = await websocket.receive_json()
            answer = {
                "event": data["event"],
                "message": data["message"],
                "sender": "x",
                "room": "chat",
            }
            if data["event"] == "echo":
                await websocket.send_json(answer)
            else:
                for member in list(active):
                    await member.send_json(answer)
    except WebSocketDisconnect:
        active.remove(websocket)


app = Starlette(routes=[WebSocketRoute("/", chat)])
