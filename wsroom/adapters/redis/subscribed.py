"""Finding out what workers are subscribed to, for people who look for the reason of a silence."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from wsroom.adapters.redis.codec import RedisNames
from wsroom.adapters.redis.network.url import read_topology
from wsroom.errors import AdapterError
from wsroom.timing import DEFAULT_TIMING, Timing
from wsroom.wire.emission import Room


async def subscribed_rooms(
    source: str, names: RedisNames, timing: Timing = DEFAULT_TIMING
) -> set[Room]:
    """Return the rooms with members, the paths with sockets, and a room of each worker.

    It asks all servers, with connections of its own. A worker's room has the path "".

    Raises:
        AdapterError: a server cannot be used, or may not be asked.

    """
    topology = read_topology(source)
    command = "SHARDCHANNELS" if topology.sharded else "CHANNELS"
    channels: set[bytes] = set()
    try:
        async with asyncio.timeout(timing.start_timeout):
            await topology.refresh()
            for place in topology.places():
                server = await topology.connect(place, timing.connect_timeout)
                try:
                    await server.connection.send_command("PUBSUB", command, names.all_channels)
                    channels.update(await server.connection.read_response())
                finally:
                    await server.close()
    except (RedisError, OSError) as exc:
        raise AdapterError(f"{topology.url} cannot be asked: {exc or 'no answer'}") from exc
    finally:
        await topology.close()
    found = (names.room(channel.decode(errors="replace")) for channel in channels)
    return {room for room in found if room is not None}
