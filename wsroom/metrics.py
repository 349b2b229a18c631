"""What an app's owner sees of a worker: its numbers, and the metrics that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

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


Values = dict[tuple[str, ...], tuple[float, ...]]
"""By the values of a metric's labels: its number, or the seconds and the buckets of a histogram."""


class Merge(Enum):
    """How the numbers of several workers become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


class Metric(NamedTuple):
    """A metric as Prometheus knows it, and where its values are in `Stats`."""

    name: str
    """Its name, without the `_total` of counters."""
    kind: str
    """"counter", "gauge" or "histogram"."""
    help: str
    labels: tuple[str, ...]
    read: Callable[[Stats], Values]
    merge: Merge = Merge.SUM


def _one(read: Callable[[Stats], float | None]) -> Callable[[Stats], Values]:
    def values(stats: Stats) -> Values:
        value = read(stats)
        return {} if value is None else {(): (value,)}

    return values


def _each(read: Callable[[Stats], Mapping[str, float]]) -> Callable[[Stats], Values]:
    return lambda stats: {(key,): (value,) for key, value in read(stats).items()}


def _events(stats: Stats) -> Values:
    return {
        (path, event): (count,)
        for path, counts in stats.events.items()
        for event, count in counts.items()
    }


def _seconds(stats: Stats) -> Values:
    return {
        (path, event): (times.seconds, *times.buckets)
        for path, handlers in stats.handlers.items()
        for event, times in handlers.items()
    }


def _closes(stats: Stats) -> Values:
    return {key: (count,) for key, count in stats.closes.items()}


COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

METRICS = (
    Metric("wsroom_workers", GAUGE, "Workers that run.", (), lambda stats: {(): (1,)}),
    Metric("wsroom_connections", GAUGE, "Open sockets.", ("path",), _each(lambda s: s.connections)),
    Metric(
        "wsroom_connections_opened",
        COUNTER,
        "Sockets whose handshake was accepted.",
        ("path",),
        _each(lambda s: s.opened),
    ),
    Metric(
        "wsroom_rooms",
        GAUGE,
        "Rooms with members, each counted once for each worker that has some.",
        (),
        _one(lambda s: s.rooms),
    ),
    Metric("wsroom_memberships", GAUGE, "Members of rooms.", (), _one(lambda s: s.memberships)),
    Metric(
        "wsroom_events_received",
        COUNTER,
        'Frames received; all events without a handler of their own are "*".',
        ("path", "event"),
        _events,
    ),
    Metric(
        "wsroom_handler_seconds", HISTOGRAM, "Seconds in handlers.", ("path", "event"), _seconds
    ),
    Metric("wsroom_frames_received", COUNTER, "Frames received.", (), _one(lambda s: s.frames_in)),
    Metric("wsroom_received_bytes", COUNTER, "Bytes received.", (), _one(lambda s: s.bytes_in)),
    Metric(
        "wsroom_frames_sent",
        COUNTER,
        "Frames given to sockets, one for each recipient.",
        (),
        _one(lambda s: s.frames_out),
    ),
    Metric(
        "wsroom_sent_bytes",
        COUNTER,
        "Bytes of these frames, before they are deflated.",
        (),
        _one(lambda s: s.bytes_out),
    ),
    Metric("wsroom_bad_frames", COUNTER, "Invalid frames.", (), _one(lambda s: s.bad_frames)),
    Metric(
        "wsroom_rate_limited",
        COUNTER,
        "Frames refused because of a rate.",
        (),
        _one(lambda s: s.rate_limited),
    ),
    Metric("wsroom_errors", COUNTER, "Error frames sent.", ("code",), _each(lambda s: s.errors)),
    Metric(
        "wsroom_refusals",
        COUNTER,
        "Handshakes that were refused.",
        ("reason",),
        _each(lambda s: s.refusals),
    ),
    Metric(
        "wsroom_closes",
        COUNTER,
        "Ends of accepted sockets, by who closed them and the code.",
        ("side", "code"),
        _closes,
    ),
    Metric(
        "wsroom_slow_closes",
        COUNTER,
        "Sockets closed because they did not read.",
        (),
        _one(lambda s: s.slow_closes),
    ),
    Metric(
        "wsroom_resumes",
        COUNTER,
        "Rooms that clients resumed, and resumes that failed.",
        ("outcome",),
        _each(lambda s: s.resumes),
    ),
    Metric(
        "wsroom_gaps",
        COUNTER,
        "Times that messages of a room did not reach a worker.",
        ("outcome",),
        _each(lambda s: s.gaps),
    ),
    Metric(
        "wsroom_adapter_up",
        GAUGE,
        "1 if all workers reach the adapter's server, else 0.",
        (),
        _one(lambda s: s.adapter_up),
        Merge.MIN,
    ),
    Metric(
        "wsroom_adapter_lag_seconds",
        GAUGE,
        "Seconds that a message of a worker to itself takes through the adapter's server.",
        (),
        _one(lambda s: s.adapter_lag),
        Merge.MAX,
    ),
    Metric(
        "wsroom_adapter_waiting",
        GAUGE,
        "Emissions that the adapter's server has not confirmed yet.",
        (),
        _one(lambda s: s.adapter_waiting),
    ),
)
"""All metrics. None has a room, a user or an id as a label."""


def merged(metric: Metric, workers: Iterable[Values]) -> Values:
    """Return the values of all workers as one."""
    found: Values = {}
    for values in workers:
        for labels, numbers in values.items():
            known = found.get(labels)
            if known is None:
                found[labels] = numbers
            elif metric.merge is Merge.SUM:
                found[labels] = tuple(map(sum, zip(known, numbers, strict=True)))
            else:
                choose = max if metric.merge is Merge.MAX else min
                found[labels] = choose(known, numbers)
    return found
