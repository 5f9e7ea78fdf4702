"""What it costs to have the library: import time in fresh interpreters, and memory over many items."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

from asyncgen_tools import drive
from benchmarks.libraries import at_once
from benchmarks.measure import Effort, Goal, Table, against, progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.libraries import Library

IMPORTS = ("import asyncio", "import asyncgen_tools", "from asyncgen_tools import drive")
ITEMS = 1_000_000


def measure(libraries: Iterable[Library], effort: Effort) -> dict[str, Any]:
    """The seconds of each import, and the bytes of a long generator, by library and number of items."""
    progress("footprint: imports")
    imports = measure_imports(3 * effort.rounds)
    memory: dict[str, dict[str, int]] = {}
    for library in libraries:
        progress(f"footprint: {library.name}, memory")
        memory[library.name] = measure_memory(library, effort.count(ITEMS))
    return {"imports": imports, "memory": memory}


def measure_imports(rounds: int) -> dict[str, float]:
    """The seconds of each import in an interpreter of its own, alternately, at its best."""
    best: dict[str, float] = dict.fromkeys(IMPORTS, float("inf"))
    for _ in range(rounds):
        for statement in IMPORTS:
            script = f"from time import perf_counter as t; s = t(); {statement}; print(t() - s)"
            printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
            best[statement] = min(best[statement], float(printed))
    return best


def measure_memory(library: Library, items: int) -> dict[str, int]:
    """The bytes that Python holds after a thousandth of so many items, and after all, with the generator still open."""
    gc.collect()
    tracemalloc.start()
    try:
        with drive(at_once(items + 1, 0), backend=library.backend, backend_options=library.options) as source:
            early = 0
            for number in source:
                if number == items // 1000:
                    early = tracemalloc.get_traced_memory()[0]
                if number == items:
                    break
            return {str(items // 1000): early, str(items): tracemalloc.get_traced_memory()[0]}
    finally:
        tracemalloc.stop()


def tables(figures: dict[str, Any]) -> list[Table]:
    """What `measure` found, with the ratios to `import asyncio`."""
    imports: dict[str, float] = figures["imports"]
    reference = imports["import asyncio"]
    rows = [[f"`{statement}`", against(seconds, reference)] for statement, seconds in imports.items()]
    headings: list[str] = []
    memory: list[list[str]] = []
    for library, counts in figures["memory"].items():
        headings = ["loop", *(f"after {int(count):,} items" for count in counts)]
        memory.append([library, *(f"{held / 1024:,.0f} KiB" for held in counts.values())])
    return [
        Table("Import, and the ratio to `import asyncio`", ["statement", "time"], rows),
        Table("Memory of one `drive`", headings, memory),
    ]


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of the import."""
    return [Goal("`import asyncgen_tools`", 1e3 * figures["imports"]["import asyncgen_tools"], 5, unit="ms")]
