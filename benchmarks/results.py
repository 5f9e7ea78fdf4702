"""Everything that was measured, as a value that JSON can hold: tables and plots of docs/speed.md are made of it alone.

Each part is a module with three functions: `measure` gives its figures; `tables` and `goals` say what they mean, and
measure nothing. Results of several Pythons stand beside each other, by version.
"""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from benchmarks import (
    bridges,
    checking,
    concurrency,
    delegation,
    footprint,
    items,
    opening,
    portal,
    testing,
)
from benchmarks.measure import goals_table, version_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.libraries import Library
    from benchmarks.measure import Effort, Goal, Table

Result: TypeAlias = dict[str, Any]
"""What was measured on one Python: `machine`, `effort`, and the figures of each part."""


class Part(Protocol):
    """A module that measures something."""

    def measure(self, _libraries: Sequence[Library], _effort: Effort, /) -> Any:
        """The figures, of dicts with strings for keys, and numbers."""

    def tables(self, _figures: Any, /) -> list[Table]:
        """What the figures say."""
        ...

    def goals(self, _figures: Any, /) -> list[Goal]:
        """What is promised of them."""
        ...


PARTS: Final[dict[str, Part]] = {
    "items": items,
    "opening": opening,
    "portal": portal,
    "bridges": bridges,
    "concurrency": concurrency,
    "delegation": delegation,
    "checking": checking,
    "testing": testing,
    "footprint": footprint,
}


def python_version() -> str:
    """The version of Python by which results are kept: "3.13"."""
    return ".".join(platform.python_version_tuple()[:2])


def measure(libraries: Sequence[Library], effort: Effort, parts: Iterable[str] = PARTS) -> Result:
    """Measure the parts, here and now."""
    figures = {name: rounded(PARTS[name].measure(libraries, effort)) for name in parts}
    return {
        "machine": machine(),
        "effort": {"seconds": effort.seconds, "rounds": effort.rounds, "part": effort.part},
        "figures": figures,
    }


def rounded(figures: Any) -> Any:
    """The figures with four digits, which is more than they are worth; no seconds of a noisy machine need 17."""
    if isinstance(figures, dict):
        return {name: rounded(figure) for name, figure in figures.items()}  # pyright: ignore[reportUnknownVariableType] # JSON
    return float(f"{figures:.4g}") if isinstance(figures, float) else figures


def machine() -> str:
    """On what the figures were measured, as far as it matters for them."""
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for library in ("anyio", "trio", "uvloop", "pytest"):
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return f"{', '.join(found)}; {platform.system()}, {platform.machine()}, {os.cpu_count()} processors"


def tables(result: Result, python: str) -> list[Table]:
    """What was found on one Python: the goals, then the tables of each part."""
    figures: dict[str, Any] = result["figures"]
    goals = [goal.on(python) for name in figures for goal in PARTS[name].goals(figures[name])]
    return [goals_table(goals), *(table for name in figures for table in PARTS[name].tables(figures[name]))]


def load(file: Path) -> dict[str, Result]:
    """The results by version of Python, the newest first; none yet where there is no such file."""
    found: dict[str, Result] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {python: found[python] for python in sorted(found, key=version_key, reverse=True)}


def save(file: Path, results: dict[str, Result]) -> None:
    """Keep the results."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
