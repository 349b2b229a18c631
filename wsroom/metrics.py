"""What an app's owner sees of a worker: its numbers, and `GET /metrics` for Prometheus."""

from __future__ import annotations

from wsroom.connection.worker import Worker
from wsroom.routing.routes import Routes
from wsroom.stats import HandlerStats, Stats


def read_stats(worker: Worker, routes: Routes) -> Stats:
    """Read what a worker has counted: in time that grows with its events, not with its sockets."""
    hub = worker.hub
    counters, adapter = hub.counters, hub.adapter.stats()
    events = {
        route.pattern.text: {event: traffic.received for event, traffic in route.traffic.items()}
        for route in routes
    }
    return Stats(
        connections={route.pattern.text: route.open for route in routes},
        opened={route.pattern.text: route.opened for route in routes},
        rooms=hub.rooms.named,
        memberships=hub.rooms.memberships,
        events=events,
        handlers=_handlers(routes),
        frames_in=counters.unread_frames + sum(sum(counts.values()) for counts in events.values()),
        bytes_in=counters.bytes_in,
        frames_out=counters.frames_out,
        bytes_out=counters.bytes_out,
        bad_frames=counters.bad_frames,
        errors=dict(counters.errors),
        refusals=dict(counters.refusals),
        closes=dict(counters.closes),
        slow_closes=counters.slow_closes,
        resumes=dict(counters.resumes),
        gaps={"filled": adapter.gaps_filled, "lost": counters.gaps_lost},
        adapter_up=hub.adapter.healthy,
        adapter_lag=adapter.lag,
        adapter_waiting=adapter.waiting,
    )


def _handlers(routes: Routes) -> dict[str, dict[str, HandlerStats]]:
    found: dict[str, dict[str, HandlerStats]] = {}
    for route in routes:
        for event, traffic in route.traffic.items():
            times = traffic.times
            if times is not None and event in route.handlers:
                measured = HandlerStats(times.seconds, tuple(times.buckets))
                found.setdefault(route.pattern.text, {})[event] = measured
    return found
