"""`wsroom top`: what a running app does, in a terminal, from its `GET /metrics`."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

TIMEOUT = 5.0

_SAMPLE = re.compile(r"(wsroom_\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_ENTER = "\x1b[?1049h\x1b[?25l"  # the terminal's other screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Labels = Mapping[str, str]


class Snapshot(NamedTuple):
    """The numbers of an app at a time."""

    at: float
    """Seconds of a clock that never goes back."""
    samples: Mapping[str, Sequence[tuple[Labels, float]]]
    """By the name of a series, its labels and values."""

    @classmethod
    def read(cls, text: str, at: float) -> Snapshot:
        """Read Prometheus' text format; what is not wsroom's is passed over."""
        samples: dict[str, list[tuple[Labels, float]]] = {}
        for line in text.splitlines():
            if match := _SAMPLE.fullmatch(line):
                name, labels, value = match.groups()
                pairs = {key: _unescaped(text) for key, text in _LABEL.findall(labels or "")}
                samples.setdefault(name, []).append((pairs, float(value)))
        return cls(at, samples)

    def of(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """Return the samples of a series that have these labels."""
        wanted = labels.items()
        return [one for one in self.samples.get(name, ()) if wanted <= one[0].items()]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of these samples."""
        return sum([value for _, value in self.of(name, **labels)])


def _unescaped(text: str) -> str:
    plain = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
    return _printable(plain)


def _printable(text: str) -> str:
    # The text comes from another program: it must not move the cursor.
    return _CONTROL.sub("?", text)


def metrics_url(url: str) -> str:
    """Return the URL of the metrics of an app at `url`.

    Raises:
        ValueError: it is not a URL of HTTP or WebSocket.

    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url!r} is not the URL of an app; use http://127.0.0.1:8000")
    path = parts.path if parts.path.strip("/") else "/metrics"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def fetch(url: str) -> Snapshot:
    """Ask the app for its numbers.

    Raises:
        ValueError: it cannot be reached, or does not serve metrics.

    """
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            text = response.read().decode(errors="replace")
    except HTTPError as exc:
        why = exc.read(500).decode(errors="replace").strip()
        hint = "; is it WSRoom(metrics=True)?" if exc.code == 404 else f": {_printable(why)}"
        raise ValueError(f"{url} answered {exc.code}{hint}") from None
    except (OSError, HTTPException) as exc:
        raise ValueError(f"{url} cannot be reached: {getattr(exc, 'reason', exc)}") from None
    found = Snapshot.read(text, time.monotonic())
    if not found.of("wsroom_workers"):
        raise ValueError(f"{url} has no metrics of wsroom; give the URL of the app's /metrics")
    return found


class View:
    """What is shown: the numbers now, and how fast they have grown since before."""

    def __init__(self, before: Snapshot, now: Snapshot) -> None:
        self._before = before
        self._now = now
        self._seconds = max(now.at - before.at, 0.001)

    def lines(self, url: str) -> list[str]:
        """Return the lines, most important first."""
        now = self._now
        return [
            f"wsroom top - {url} - workers: {now.sum('wsroom_workers'):.0f}",
            "",
            f"sockets {short(now.sum('wsroom_connections'))}   rooms "
            f"{short(now.sum('wsroom_rooms'))}   memberships "
            f"{short(now.sum('wsroom_memberships'))}   {self._adapter()}",
            f"in {self._speed('wsroom_frames_received_total')} frames/s "
            f"{self._speed('wsroom_received_bytes_total')} B/s   out "
            f"{self._speed('wsroom_frames_sent_total')} frames/s "
            f"{self._speed('wsroom_sent_bytes_total')} B/s",
            f"opened {self._speed('wsroom_connections_opened_total')}/s   closed "
            f"{self._speed('wsroom_closes_total')}/s   refused "
            f"{self._speed('wsroom_refusals_total')}/s   errors "
            f"{self._speed('wsroom_errors_total')}/s   bad frames "
            f"{self._speed('wsroom_bad_frames_total')}/s   rate limited "
            f"{self._speed('wsroom_rate_limited_total')}/s",
            "",
            *_table(("PATH", "SOCKETS", "OPENED/S"), self._paths()),
            "",
            *_table(("EVENT", "PATH", "FRAMES/S", "MEAN MS", "SLOW MS", "TOTAL"), self._events()),
            "",
            *self._totals(),
        ]

    def _adapter(self) -> str:
        now = self._now
        up = "up" if now.sum("wsroom_adapter_up") else "DOWN"
        lag = now.of("wsroom_adapter_lag_seconds")
        shown = f", lag {lag[0][1] * 1000:.0f} ms" if lag else ""
        return f"adapter {up}{shown}, waiting {short(now.sum('wsroom_adapter_waiting'))}"

    def _growth(self, name: str, **labels: str) -> float:
        # A worker that is new, or was restarted, may have less than before.
        return max(self._now.sum(name, **labels) - self._before.sum(name, **labels), 0.0)

    def _speed(self, name: str, **labels: str) -> str:
        return short(self._growth(name, **labels) / self._seconds)

    def _paths(self) -> Iterator[tuple[str, ...]]:
        for labels, count in self._now.of("wsroom_connections"):
            speed = self._speed("wsroom_connections_opened_total", **labels)
            yield labels["path"], short(count), speed

    def _events(self) -> Iterator[tuple[str, ...]]:
        name = "wsroom_events_received_total"
        busiest = sorted(
            self._now.of(name), key=lambda one: (-self._growth(name, **one[0]), -one[1])
        )
        for labels, total in busiest:
            mean, slow = self._times(labels)
            speed = self._speed(name, **labels)
            yield labels["event"], labels["path"], speed, mean, slow, short(total)

    def _times(self, labels: Labels) -> tuple[str, str]:
        # The mean, and the class that 95 of 100 calls do not exceed.
        calls = self._growth("wsroom_handler_seconds_count", **labels)
        if not calls:
            return "-", "-"
        mean = self._growth("wsroom_handler_seconds_sum", **labels) / calls * 1000
        buckets = self._now.of("wsroom_handler_seconds_bucket", **labels)
        for bucket in sorted(float(each["le"]) for each, _ in buckets):
            text = next(each["le"] for each, _ in buckets if float(each["le"]) == bucket)
            if self._growth("wsroom_handler_seconds_bucket", **{**labels, "le": text}) >= (
                0.95 * calls
            ):
                return f"{mean:.1f}", "more" if text == "+Inf" else f"<{bucket * 1000:g}"
        return f"{mean:.1f}", "-"

    def _totals(self) -> Iterator[str]:
        for title, name in (
            ("errors", "wsroom_errors_total"),
            ("refusals", "wsroom_refusals_total"),
            ("closes", "wsroom_closes_total"),
            ("resumes", "wsroom_resumes_total"),
            ("gaps", "wsroom_gaps_total"),
        ):
            counts = [
                f"{' '.join(labels.values())} {short(count)}"
                for labels, count in self._now.of(name)
                if count
            ]
            if counts:
                yield f"{title}: {', '.join(counts)}"


def short(number: float) -> str:
    """Return a number in at most six characters."""
    for limit, divisor, suffix in ((1e4, 1, ""), (1e7, 1e3, "k"), (1e10, 1e6, "M")):
        if abs(number) < limit:
            scaled = number / divisor
            digits = 0 if scaled == int(scaled) or abs(scaled) >= 100 else 1
            return f"{scaled:.{digits}f}{suffix}"
    return f"{number / 1e9:.0f}G"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    names = sum(title in ("PATH", "EVENT") for title in head)  # the columns of text come first
    return [
        "  ".join(
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def top(url: str, interval: float, *, once: bool) -> None:
    """Show the app at `url` until it is interrupted, or with `once` for one interval.

    Raises:
        ValueError: `url` is invalid; the app cannot be reached at the beginning.

    """
    url = metrics_url(url)
    before = fetch(url)
    if once or not sys.stdout.isatty():
        time.sleep(interval)
        print("\n".join(View(before, fetch(url)).lines(url)))
        return
    sys.stdout.write(_ENTER)
    try:
        _draw([f"wsroom top - {url} - one moment"])
        while True:
            time.sleep(interval)
            try:
                now = fetch(url)
            except ValueError as exc:  # it may be restarting
                _draw([f"wsroom top - {exc}"])
                continue
            _draw(View(before, now).lines(url))
            before = now
    except KeyboardInterrupt:
        return
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _draw(lines: Sequence[str]) -> None:
    width, height = shutil.get_terminal_size()
    shown = [line[:width] + _REST_OF_LINE for line in lines[:height]]
    sys.stdout.write(_HOME + "\r\n".join(shown) + _REST_OF_SCREEN)
    sys.stdout.flush()
