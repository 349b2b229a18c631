"""The page about observing, and the dashboard, name the metrics that there are."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.pages import sections
from tests.support.paths import ROOT
from wsroom.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, Metric

PAGE = ROOT / "docs" / "observing.md"


def test_the_table_has_all_metrics() -> None:
    """Each with its type, its labels and its sentence, in the order of the code."""
    rows = re.findall(
        r"^\| `(wsroom_\w+)` \| (.*) \|$", sections(PAGE)["the-metrics"], re.MULTILINE
    )
    assert rows == [
        (
            metric.name + ("_total" if metric.kind == COUNTER else ""),
            f"{metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help}",
        )
        for metric in METRICS
    ]


Query = tuple[str, str]
"""A panel's expression, and the legend of its series."""


def queries() -> list[Query]:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    return [
        (target["expr"], target["legendFormat"])
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def series() -> dict[str, tuple[Metric, frozenset[str]]]:
    """The names of all series, and the labels that each has beside Prometheus' own."""
    found = {}
    for metric in METRICS:
        labels = frozenset(metric.labels)
        if metric.kind == HISTOGRAM:
            found[f"{metric.name}_bucket"] = metric, labels | {"le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = metric, labels
        else:
            suffix = "_total" if metric.kind == COUNTER else ""
            found[metric.name + suffix] = metric, labels
    return found


def problems(query: Query) -> list[str]:
    """What is wrong with a query: its series, its labels, and whether counters become rates."""
    expression, legend = query
    known, found = series(), []
    names = set(re.findall(r"wsroom_\w+", expression))
    labels = {
        label for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(", ")
    }
    for name in names:
        if name not in known:
            found.append(f"no metric {name}")
            continue
        metric, its = known[name]
        found += [f"{name} has no label {label}" for label in labels - its]
        rated = f"rate({name}{{" in expression
        if rated is (metric.kind == GAUGE):
            found.append(f"{name} is a {metric.kind}")
        if f'{name}{{job=~"$job"' not in expression:
            found.append(f"{name} of every job")
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    found += [f"the legend's {label} is summed away" for label in shown - labels]
    if not names:
        found.append("no metric")
    return found


@pytest.mark.parametrize("query", queries(), ids=lambda query: str(query[0]))
def test_the_queries_of_the_dashboard_fit_the_metrics(query: Query) -> None:
    """Each series exists and has the labels; counters, and only they, become rates."""
    assert problems(query) == []


def test_every_metric_is_in_the_dashboard() -> None:
    """No number is made that nobody can see."""
    text = " ".join(expression for expression, _ in queries())
    assert [metric.name for metric in METRICS if metric.name not in text] == []


@pytest.mark.parametrize(
    ("expression", "legend", "problem"),
    [
        ('sum(wsroom_conections{job=~"$job"})', "", "no metric wsroom_conections"),
        ('sum by (room) (wsroom_rooms{job=~"$job"})', "", "wsroom_rooms has no label room"),
        ('sum(wsroom_errors_total{job=~"$job"})', "", "wsroom_errors_total is a counter"),
        ('sum(rate(wsroom_rooms{job=~"$job"}[5m]))', "", "wsroom_rooms is a gauge"),
        ("sum(wsroom_rooms)", "", "wsroom_rooms of every job"),
        ('sum(wsroom_rooms{job=~"$job"})', "{{path}}", "the legend's path is summed away"),
        ("up", "", "no metric"),
    ],
)
def test_a_query_that_does_not_fit_is_found(expression: str, legend: str, problem: str) -> None:
    """The check can fail."""
    assert problems((expression, legend)) == [problem]
