"""`GET /metrics`: the app's metrics, of all workers of a host, as text for Prometheus."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from wsroom.errors import SetupError
from wsroom.logs import LogOnce
from wsroom.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, Metric, Values, merged
from wsroom.stats import BOUNDS, Stats

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as PrometheusMetric

logger = logging.getLogger("wsroom")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus-client takes the folder of its own files from."""

ONE_OF_SEVERAL = (
    "this is one of {count} workers, and it knows its own numbers only; set the environment "
    f"variable {FOLDER} to an empty folder that all of them may write"
)

WRITE_EVERY = 2.0
"""Seconds between two times that a worker writes its numbers for the others."""
DEAD_AFTER = 10.0
"""Seconds without a write after which a worker counts as dead."""


class Exporter:
    """Makes the text for Prometheus.

    The workers of a host share a folder. Each writes its numbers into a file every two seconds; the
    one that is asked adds those of the others to its own. Of a worker that has ended, what it has
    counted stays, so that totals do not fall; what it had is gone.

    Args:
        stats: returns this worker's numbers.

    Raises:
        SetupError: prometheus-client is not installed, or the folder cannot be made.

    """

    def __init__(self, stats: Callable[[], Stats]) -> None:
        try:
            import prometheus_client  # noqa: F401 (it is slow to import, and optional)
        except ImportError:
            raise SetupError(
                "metrics=True needs prometheus-client; install wsroom[metrics]"
            ) from None
        self._stats = stats
        self._folder = _folder()
        self._name = ""  # given in the worker: processes are forked from one that has an app
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = LogOnce()

    @property
    def shared(self) -> bool:
        """Whether the workers of this host know each other's numbers."""
        return self._folder is not None

    def start(self) -> None:
        """Begin to write this worker's numbers, if they are shared; again on another event loop."""
        if self._folder is not None:
            loop = asyncio.get_running_loop()
            if self._loop is not loop:
                self._loop = loop
                self._name = self._name or f"wsroom_{os.getpid()}_{secrets.token_hex(4)}.json"
                self._write_again(self._folder)

    def stop(self) -> None:
        """Write the last totals."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None and self._folder is not None:
            self._loop = None
            self._write(self._folder, lasting=True)

    def _write_again(self, folder: Path) -> None:
        assert self._loop is not None
        try:
            self._write(folder)
        except OSError as exc:
            if self._failed.due():
                logger.warning("the numbers for other workers cannot be written: %s", exc)
        else:
            self._failed.reset()
        self._timer = self._loop.call_later(WRITE_EVERY, self._write_again, folder)

    def _write(self, folder: Path, lasting: bool = False) -> None:
        values = self._values()
        rows = {
            metric.name: list(values[metric.name].items())
            for metric in METRICS
            if not (lasting and metric.kind == GAUGE)
        }
        # Renamed, so that nobody reads a half of it.
        unfinished = folder / f"{self._name}.new"
        unfinished.write_text(json.dumps(rows), encoding="utf-8")
        unfinished.replace(folder / self._name)

    def _values(self) -> dict[str, Values]:
        stats = self._stats()
        return {metric.name: metric.read(stats) for metric in METRICS}

    def exposition(self) -> bytes:
        """Return the metrics of the app, then those of prometheus-client's registry."""
        from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        rest: CollectorRegistry = REGISTRY
        if self._folder is not None:
            rest = CollectorRegistry()
            MultiProcessCollector(rest, str(self._folder))  # type: ignore[no-untyped-call]
        own = CollectorRegistry()
        own.register(_Collector(self._all_values()))
        return generate_latest(own) + generate_latest(rest)

    def _all_values(self) -> dict[str, Values]:
        workers = [self._values(), *self._others()]
        return {
            metric.name: merged(metric, [values.get(metric.name, {}) for values in workers])
            for metric in METRICS
        }

    def _others(self) -> Iterator[dict[str, Values]]:
        if self._folder is None:
            return
        now = time.time()
        for file in sorted(self._folder.glob("wsroom_*.json")):
            if file.name != self._name:
                dead = now - file.stat().st_mtime > DEAD_AFTER
                rows = json.loads(file.read_text(encoding="utf-8"))
                yield {
                    metric.name: {
                        tuple(labels): tuple(numbers) for labels, numbers in rows[metric.name]
                    }
                    for metric in METRICS
                    if metric.name in rows and not (dead and metric.kind == GAUGE)
                }


def _folder() -> Path | None:
    name = os.environ.get(FOLDER)
    if not name:
        return None
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SetupError(f"{FOLDER}: the folder {name!r} cannot be made: {exc}") from exc
    return folder


class _Collector:
    """What prometheus-client asks for metrics."""

    def __init__(self, values: Mapping[str, Values]) -> None:
        self._values = values

    def collect(self) -> Iterator[PrometheusMetric]:
        for metric in METRICS:
            yield _family(metric, self._values[metric.name])


def _family(metric: Metric, values: Values) -> PrometheusMetric:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if metric.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, (seconds, *buckets) in values.items():
            upper = [*map(str, BOUNDS), "+Inf"]
            counts = list(zip(upper, accumulate(buckets), strict=True))
            histogram.add_metric(labels, counts, seconds)
        return histogram
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, (number,) in values.items():
        family.add_metric(labels, number)
    return family
