"""picows' core API: frames built in C, one `send` per member."""

# mypy: ignore-errors
import sys

import orjson
import uvloop
from picows import WSListener, WSMsgType, ws_create_server

connections = set()


class Chat(WSListener):
    def on_ws_connected(self, transport):
        connections.add(transport)

    def on_ws_disconnected(self, transport):
        connections.discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            data = orjson.loads(frame.get_payload_as_memoryview())
            answer = {
                "event": data["event"],
                "message": data["message"],
                "sender": "x",
                "room": "chat",
            }
            payload = orjson.dumps(answer)
            if data["event"] == "echo":
                transport.send(WSMsgType.TEXT, payload)
            else:
                for member in connections:
                    member.send(WSMsgType.TEXT, payload)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


async def main():
    server = await ws_create_server(lambda request: Chat(), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(main())
