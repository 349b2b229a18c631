"""Draw the bar charts. Runs in the scratch folder's environment: chart.py DATA.json OUT.png"""

# mypy: ignore-errors
import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS, FLOOR, OTHERS = "#d9480f", "#868e96", "#a5c4e4"


def number(value):
    if value >= 1_000_000:
        return f"{value / 1_000_000:.2f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(axes, title, label, bars):
    less_is_better = "less" in label
    ordered = sorted(bars.items(), key=lambda bar: bar[1], reverse=less_is_better)
    colors = [
        {"wsroom": OURS, "C floor": FLOOR}.get(name.split(",")[0], OTHERS) for name, _ in ordered
    ]
    values = [value for _, value in ordered]
    drawn = axes.barh([name for name, _ in ordered], values, color=colors, height=0.7)
    axes.bar_label(drawn, labels=[number(value) for value in values], padding=4, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 4)
    axes.set_title(title[0].upper() + title[1:], loc="left", fontweight="bold", fontsize=12)
    axes.set_xlabel(f"{label}, log scale", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e9ecef")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for tick in axes.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text() == "wsroom" else "normal")


def main(data, out):
    with open(data, encoding="utf-8") as file:
        charts = json.load(file)
    rows = (len(charts) + 1) // 2
    columns = min(len(charts), 2)
    figure, grid = plt.subplots(
        rows, columns, figsize=(6.5 * columns, 4.4 * rows), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(charts) :]:
        axes.set_visible(False)
    for axes, chart in zip(grid.flat, charts, strict=False):
        draw(axes, **chart)
    figure.savefig(out, dpi=110)


main(*sys.argv[1:])
