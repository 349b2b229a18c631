"""socketify, the binding of uWebSockets (C++): its own publish to a topic."""

# mypy: ignore-errors
import sys

import orjson
from socketify import App, OpCode

app = App()


def on_open(websocket):
    websocket.subscribe("chat")


def on_message(websocket, message, opcode):
    data = orjson.loads(message)
    event, content = data["event"], data["message"]
    answer = {"event": event, "message": content, "sender": "x", "room": "chat"}
    text = orjson.dumps(answer).decode()
    if event == "move":
        websocket.publish(content["room"], text, OpCode.TEXT)
    elif event == "echo":
        websocket.send(text, OpCode.TEXT)
    elif event == "join":
        websocket.subscribe(content)
        websocket.send(text, OpCode.TEXT)
    else:
        app.publish("chat", text, OpCode.TEXT)


app.ws(
    "/*",
    {
        "compression": 0,
        "max_payload_length": 1 << 20,
        "idle_timeout": 120,
        "open": on_open,
        "message": on_message,
    },
)
app.listen({"port": int(sys.argv[1]), "host": "127.0.0.1"}, lambda config: None)
app.run()
