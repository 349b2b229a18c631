"""picows' core API: frames built in C, one `send` per member."""

# mypy: ignore-errors
import sys

import orjson
import uvloop
from picows import WSListener, WSMsgType, ws_create_server

connections = set()
rooms = {}


class Chat(WSListener):
    def on_ws_connected(self, transport):
        connections.add(transport)
        self.rooms = set()

    def on_ws_disconnected(self, transport):
        connections.discard(transport)
        for room in self.rooms:
            rooms[room].discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            data = orjson.loads(frame.get_payload_as_memoryview())
            event, content = data["event"], data["message"]
            answer = {"event": event, "message": content, "sender": "x", "room": "chat"}
            payload = orjson.dumps(answer)
            if event == "move":
                for member in rooms[content["room"]]:
                    if member is not transport:
                        member.send(WSMsgType.TEXT, payload)
            elif event == "echo":
                transport.send(WSMsgType.TEXT, payload)
            elif event == "join":
                rooms.setdefault(content, set()).add(transport)
                self.rooms.add(content)
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
