"""Draws charts as SVG, the same bytes each time; needs matplotlib, which is imported on first use.

Narrow, so that a phone shows them at reading size; dark on white, which docs/_static/pages.css inverts in dark mode;
text stays text. A chart is in the metadata of its plot.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from benchmarks.charts import BarChart, LineChart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.charts import Bar, Chart, Whose

#: Full and pale, for the first Python and the others.
COLOURS: Final[dict[Whose, tuple[str, str]]] = {
    "ours": ("#1f6fd6", "#9cc3f5"),
    "other": ("#b4532a", "#e3b8a3"),
    "native": ("#5c5c5c", "#bdbdbd"),
}
WHOSE: Final[dict[Whose, str]] = {"native": "the language's own", "ours": "this library", "other": "without it"}
STYLE: Final[dict[str, Any]] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "asyncgen_tools",
}
#: Inches.
WIDTH: Final = 4.2
LEFT: Final = 1.72
ROW: Final = 0.14


def description(chart: Chart) -> str:
    """The chart as its plot carries it."""
    return json.dumps(asdict(chart), ensure_ascii=False)


def draw(chart: Chart, file: Path) -> None:
    """Draw a chart."""
    # not imported by name: type checkers need not have it
    with import_module("matplotlib").rc_context(STYLE):
        figure = _bars(chart) if isinstance(chart, BarChart) else _lines(chart)
        metadata = {"Date": None, "Creator": None, "Title": chart.title, "Description": description(chart)}
        figure.savefig(file, format="svg", metadata=metadata)


def _plain(value: float, _position: int) -> str:
    """A number at an axis, without powers of ten."""
    return f"{value:,g}"


def _figure(height: float) -> Any:
    return import_module("matplotlib.figure").Figure(figsize=(WIDTH, height))


def _bars(chart: BarChart) -> Any:
    rows = [max(1, len(panel.bars)) * len(chart.pythons) for panel in chart.panels]
    # A panel is as high as its bars are many; the margins are for the axis below and the legend above.
    gap, below, above = 0.32, 0.45, 0.75 + 0.15 * (len(chart.pythons) > 1)
    height = ROW * sum(rows) + gap * (len(rows) - 1) + below + above
    figure = _figure(height)
    top = height - above
    figure.text(0.02, 1 - 0.16 / height, f"{chart.title}: microseconds", weight="bold", size=9, va="center")
    _legend(figure, chart, height)
    every = [
        value
        for panel in chart.panels
        for bar in panel.bars
        for value in (*bar.microseconds.values(), *bar.goal.values())
    ]
    for number, (panel, count) in enumerate(zip(chart.panels, rows, strict=True)):
        bottom = top - ROW * count
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, (WIDTH - LEFT - 0.15) / WIDTH, ROW * count / height))
        axes.set_title(panel.title, loc="left", pad=2)
        axes.set(xscale="log", xlim=(min(every) / 2, max(every) * 6), ylim=(count - 0.5, -0.5))
        _panel(axes, panel.bars, chart.pythons)
        axes.grid(visible=True, axis="x", alpha=0.3, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelbottom=number == len(rows) - 1, left=False)
        axes.xaxis.set_major_formatter(_plain)
        axes.tick_params(which="minor", bottom=False)
        top = bottom - gap
    return figure


def _panel(axes: Any, bars: Sequence[Bar], pythons: Sequence[str]) -> None:
    """Draw the bars of all Pythons, those of one way next to one another, with their values and goals."""
    axes.set_yticks(
        [number * len(pythons) + (len(pythons) - 1) / 2 for number in range(len(bars))], [bar.label for bar in bars]
    )
    for number, bar in enumerate(bars):
        for which, python in enumerate(pythons):
            if python not in bar.microseconds:
                continue
            row, value = number * len(pythons) + which, bar.microseconds[python]
            axes.barh(row, value, height=0.85, color=COLOURS[bar.whose][min(which, 1)])
            goal = bar.goal.get(python)
            if goal is not None:
                axes.plot([goal, goal], [row - 0.5, row + 0.5], color="black", linewidth=1.6, solid_capstyle="butt")
            end = max(value, goal or 0)
            axes.text(end * 1.1, row, f"{value:.3g}" if value < 100 else f"{value:,.0f}", size=7, va="center_baseline")


def _legend(figure: Any, chart: BarChart, height: float) -> None:
    """What the colours, the shades and the mark mean."""
    patch, line = import_module("matplotlib.patches").Patch, import_module("matplotlib.lines").Line2D
    shown = {bar.whose for panel in chart.panels for bar in panel.bars}
    handles = [patch(color=COLOURS[whose][0], label=label) for whose, label in WHOSE.items() if whose in shown]
    if any(bar.goal for panel in chart.panels for bar in panel.bars):
        handles.append(
            line([], [], color="black", linewidth=1.6, marker="|", linestyle="", markersize=9, label="goal, at most")
        )
    options = {"loc": "upper left", "frameon": False, "fontsize": 7.5, "handlelength": 1, "columnspacing": 1}
    figure.legend(handles=handles, bbox_to_anchor=(0, 1 - 0.24 / height), ncols=len(handles), **options)
    if len(chart.pythons) > 1:
        shades = [
            patch(color=COLOURS["native"][min(which, 1)], label=f"{python}")
            for which, python in enumerate(chart.pythons)
        ]
        figure.legend(handles=shades, bbox_to_anchor=(0, 1 - 0.40 / height), ncols=len(shades), **options)


def _lines(chart: LineChart) -> Any:
    pythons = list(dict.fromkeys(line.python for line in chart.lines))
    height = 3.5 + 0.35 * (len(pythons) > 1)
    figure = _figure(height)
    figure.text(0.02, 1 - 0.16 / height, f"{chart.title}: microseconds", weight="bold", size=9, va="center")
    axes = figure.add_axes((0.12, 0.45 / height, 0.85, 2.4 / height))
    markers = {"nested async for": "s", "sync yield from": "^", "await yield_from(…)": "o"}
    for line in chart.lines:
        colour = COLOURS[line.whose][min(pythons.index(line.python), 1)]
        label = f"{line.label}, {line.python}" if len(pythons) > 1 else line.label
        if list(line.microseconds) == ["0"]:
            axes.axhline(line.microseconds["0"], color=colour, linestyle=":", linewidth=1.4, label=label)
        else:
            depths = [int(depth) for depth in line.microseconds]
            marker = markers[line.label]
            axes.plot(depths, list(line.microseconds.values()), marker=marker, markersize=4, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="depth of delegation")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain)
    axes.tick_params(which="minor", bottom=False, left=False)
    axes.grid(visible=True, which="major", alpha=0.3, linewidth=0.6)
    options = {"loc": "upper left", "frameon": False, "fontsize": 7.5, "handlelength": 2, "columnspacing": 1}
    figure.legend(bbox_to_anchor=(0, 1 - 0.24 / height), ncols=2, **options)
    return figure
