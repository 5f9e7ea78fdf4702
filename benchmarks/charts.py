"""What the plots of docs/speed.md show: results put in the order in which they are drawn. Nothing is drawn here.

Each plot carries its chart as JSON in its metadata, so that a test can ask whether it was drawn from the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from benchmarks import bridges, concurrency, items, portal
from benchmarks.measure import version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.results import Result

Whose: TypeAlias = Literal["ours", "other", "native"]
"""This library's, what is used without it, or what both are compared with."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A way to do it: the microseconds that it takes, by Python, and those that it may take, where that is promised."""

    label: str
    whose: Whose
    microseconds: Mapping[str, float]
    goal: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars to compare with one another."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Panels of horizontal bars, over one logarithmic axis of microseconds."""

    name: str
    title: str
    pythons: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Microseconds by depth, on one Python; a single one, at depth 0, is a level that is the same for all depths."""

    label: str
    whose: Whose
    python: str
    microseconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over depth, both axes logarithmic."""

    name: str
    title: str
    lines: tuple[Line, ...]


Chart: TypeAlias = BarChart | LineChart

#: Label, whose, part, and the name there.
WAYS: Final[tuple[tuple[str, Whose, str, str], ...]] = (
    ("async for", "native", "items", "async for"),
    ("drive", "ours", "items", "drive"),
    ("Runner.drive", "ours", "items", "Runner.drive"),
    ("Portal.drive, prefetch=64", "ours", "portal", portal.AHEAD),
    ("Portal.drive", "ours", "portal", portal.LOCK_STEP),
    ("run_until_complete", "other", "items", "run_until_complete"),
    ("run_coroutine_threadsafe", "other", "portal", "run_coroutine_threadsafe"),
    ("anyio's portal", "other", "portal", "anyio's portal"),
)
BRIDGES: Final[tuple[tuple[str, Whose, str], ...]] = (
    ("iterate_in_threadpool", "other", bridges.THREADS[0]),
    ("in_thread", "ours", bridges.THREADS[1]),
    ("in_thread, prefetch=64", "ours", bridges.THREADS[2]),
    ("queue between two tasks", "other", bridges.TASKS[0]),
    ("hosted", "ours", bridges.TASKS[1]),
)
DELEGATION: Final[tuple[tuple[str, Whose, str], ...]] = (
    ("nested async for", "other", "nested async for"),
    ("sync yield from", "native", "yield from"),
    ("await yield_from(…)", "ours", "yield_from"),
)


def charts(results: Mapping[str, Result]) -> list[Chart]:
    """Every plot of the page."""
    figures = {python: result["figures"] for python, result in results.items()}
    return [
        item_chart(figures, "no suspension", "at-once", "An item at hand"),
        item_chart(figures, "one suspension", "suspended", "An item that suspends once"),
        bridge_chart(figures),
        call_chart(figures),
        delegation_chart(figures),
    ]


def item_chart(figures: Mapping[str, Any], kind: str, name: str, title: str) -> BarChart:
    """What an item costs, by way and loop."""

    def bar(library: str, label: str, whose: Whose, part: str, key: str) -> Bar:
        found: dict[str, float] = {}
        goals: dict[str, float] = {}
        for python, parts in figures.items():
            by_library = parts[part] if part == "items" else parts[part]["items"]
            seconds = by_library.get(library, {}).get(kind, {})
            if key in seconds:
                found[python] = seconds[key]
                goals[python] = limit(python, library, key, seconds)
        return _bar(label, whose, found, goals)

    def limit(python: str, library: str, key: str, seconds: Mapping[str, float]) -> float:
        if key == "drive" and (library, kind) in items.MOST:
            most, before_313 = items.MOST[library, kind]
            return seconds["async for"] * (before_313 if before_313 and version_key(python) < (3, 13) else most)
        promised = [seconds[other] / least for other, ours, least in portal.LEAST if ours == key and other in seconds]
        return min(promised) if promised and kind == portal.KINDS[0] else 0

    panels = [Panel(library, _present(bar(library, *way) for way in WAYS)) for library in _libraries(figures, "items")]
    return BarChart(name, title, tuple(figures), tuple(panels))


def bridge_chart(figures: Mapping[str, Any]) -> BarChart:
    """What an item costs from a thread, and from another task."""

    def bar(library: str, label: str, whose: Whose, key: str) -> Bar:
        found = {python: parts["bridges"][library] for python, parts in figures.items() if library in parts["bridges"]}
        goals = {
            python: seconds[bridges.THREADS[0]] / bridges.LEAST[key]
            if key in bridges.LEAST
            else (bridges.MOST * seconds["queue"] if key == "hosted" else 0)
            for python, seconds in found.items()
        }
        return _bar(label, whose, {python: seconds[key] for python, seconds in found.items()}, goals)

    panels = [
        Panel(library, _present(bar(library, *way) for way in BRIDGES)) for library in _libraries(figures, "bridges")
    ]
    return BarChart("bridges", "An item from another thread or task", tuple(figures), tuple(panels))


def call_chart(figures: Mapping[str, Any]) -> BarChart:
    """What a call costs in a fan-out."""
    by_python = {python: parts["concurrency"]["seconds"] for python, parts in figures.items()}

    def bar(library: str, kind: str, key: str) -> Bar:
        found = {python: seconds[library][kind][key] for python, seconds in by_python.items() if library in seconds}
        ours = key in {"concurrent_map", "ordered=False"}
        label = "concurrent_map, unordered" if key == "ordered=False" else key
        return _bar(label, "ours" if ours else "other", found, {})

    panels = [
        Panel(f"{library}, {kind}", _present(bar(library, kind, key) for key in concurrency.FANS))
        for library in dict.fromkeys(library for seconds in by_python.values() for library in seconds)
        for kind in concurrency.FUNCTIONS
    ]
    return BarChart("calls", f"A call, {concurrency.LIMIT} at a time", tuple(figures), tuple(panels))


def delegation_chart(figures: Mapping[str, Any]) -> LineChart:
    """What an item costs against the depth of delegation."""
    lines: list[Line] = []
    for python, parts in figures.items():
        costs: dict[str, dict[str, float]] = parts["delegation"]["seconds"]
        for label, whose, key in DELEGATION:
            found = {depth: _micro(seconds[key]) for depth, seconds in costs.items() if depth != "0" and key in seconds}
            lines.append(Line(label, whose, python, found))
        lines.append(Line("@delegating alone", "ours", python, {"0": _micro(costs["0"]["yield_from"])}))
    return LineChart("delegation", "An item against the depth of delegation", tuple(lines))


def _libraries(figures: Mapping[str, Any], part: str) -> Iterable[str]:
    return dict.fromkeys(library for parts in figures.values() for library in parts[part])


def _present(bars: Iterable[Bar]) -> tuple[Bar, ...]:
    """Without what some library has nothing for."""
    return tuple(bar for bar in bars if bar.microseconds)


def _bar(label: str, whose: Whose, seconds: Mapping[str, float], goals: Mapping[str, float]) -> Bar:
    promised = {python: _micro(goal) for python, goal in goals.items() if goal}
    return Bar(label, whose, {python: _micro(value) for python, value in seconds.items()}, promised)


def _micro(seconds: float) -> float:
    return float(f"{1e6 * seconds:.4g}")
