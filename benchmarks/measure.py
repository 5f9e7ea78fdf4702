"""Timing side by side, and tables and goals to say what came out.

Machines are noisy, and other processes share them. So contenders take turns, round after round, and the best round of
each counts: it was disturbed least. Ratios within one table are to be trusted further than its seconds.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, TypeAlias

Contender: TypeAlias = Callable[[int], float]
"""Does something so many times, and says how many seconds that took; it leaves out what is not to be counted."""

_BEGUN: Final = perf_counter()
NO_BREAK: Final = "\u00a0"
"""Keeps a number and its unit on one line, on a phone, too."""


def progress(text: str) -> None:
    """Tell on standard error what is being measured, and how many seconds after the start."""
    print(f"[{perf_counter() - _BEGUN:4.0f} s] {text}", file=sys.stderr, flush=True)


def version_key(python: str) -> tuple[int, ...]:
    """A version as numbers, which compare: (3, 13)."""
    return tuple(map(int, python.split(".")))


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of each contender's turn (roughly), rounds, and what part of all counts."""

    seconds: float = 0.1
    rounds: int = 7
    part: float = 1.0

    def count(self, full: int) -> int:
        """How many of what takes so many at full effort."""
        return max(1, round(full * self.part))


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a line of headings, and the rows below them."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """The table in Markdown, its columns aligned for readers of the source."""
        widths = [max(len(row[column]) for row in (self.headings, *self.rows)) for column in range(len(self.headings))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in (self.headings, ["-" * width for width in widths], *self.rows)
        ]
        return "\n".join([f"### {self.title}", "", *lines, ""])


@dataclass(frozen=True, slots=True)
class Goal:
    """What the library promises on CPython 3.13, at most or at least, and what was measured."""

    what: str
    measured: float
    most: float | None = None
    least: float | None = None
    unit: str = "×"
    most_before_313: float | None = None
    """Where older Pythons get a promise of their own."""

    def on(self, python: str) -> Goal:
        """The same goal as it stands on this version of Python, "3.11" for one."""
        before = None if version_key(python) >= (3, 13) else self.most_before_313
        return Goal(self.what, self.measured, before or self.most, self.least, self.unit)

    @property
    def met(self) -> bool:
        """Whether it was reached, to the digits that the table shows."""
        shown = float(self._written(self.measured).replace(",", ""))
        return (self.most is None or shown <= self.most) and (self.least is None or shown >= self.least)

    def row(self) -> list[str]:
        """The goal as a row of the table of goals."""
        limit = f"≤ {self.most:,g}" if self.most is not None else f"≥ {self.least:,g}"
        cells = f"{limit} {self.unit}", f"{self._written(self.measured)} {self.unit}"
        return [self.what, *(cell.replace(" ", NO_BREAK) for cell in cells), "yes" if self.met else "no"]

    @staticmethod
    def _written(value: float) -> str:
        return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"


def goals_table(goals: Sequence[Goal]) -> Table:
    """Goals, and whether they were reached."""
    return Table("Goals", ["what", "goal", "measured", "reached"], [goal.row() for goal in goals])


def alternately(contenders: Mapping[str, Contender], effort: Effort) -> dict[str, float]:
    """The seconds that each contender takes for one time, at its best over all rounds."""
    times = {name: _times_in(contender, effort.seconds) for name, contender in contenders.items()}
    return in_turns(contenders, times, effort.rounds)


def in_turns(contenders: Mapping[str, Contender], times: Mapping[str, int], rounds: int) -> dict[str, float]:
    """The same, with so many times in each turn."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()
            best[name] = min(best[name], contender(times[name]) / times[name])
    return best


def _times_in(contender: Contender, seconds: float) -> int:
    """How many times the contender can do it in so many seconds, found out by trying (and warming up)."""
    times = 8
    while (taken := contender(times)) < seconds / 8 and times < 200_000:
        times *= 4
    return max(8, min(500_000, int(times * seconds / taken)))


def microseconds(seconds: float) -> str:
    """Seconds, written as microseconds with three digits or so, or as milliseconds."""
    value = seconds * 1e6
    if value >= 10_000:
        return f"{value / 1e3:,.0f} ms"
    return f"{value:.3f} µs" if value < 1 else f"{value:.3g} µs" if value < 100 else f"{value:,.0f} µs"


def against(seconds: float, reference: float) -> str:
    """Seconds, with their ratio to a reference."""
    ratio = seconds / reference
    times = f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
    return f"{microseconds(seconds)} ({times} ×)"
