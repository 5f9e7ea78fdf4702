"""What the testing kit costs: a sweep over a thousand points, and all checks of one small generator, on each loop.

The sweep's scenario does nothing but suspend a thousand times, so that its 1,001 runs suspend half a million times.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from asyncgen_tools.testing import check_async_generator, get_backend, sweep_cancellation
from benchmarks.measure import Effort, Goal, Table, progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from benchmarks.libraries import Library

POINTS = 1_000
ROUNDS = 3
#: The seconds that a sweep may take.
MOST = {"asyncio": 1, "trio": 2}


def measure(libraries: Sequence[Library], effort: Effort) -> dict[str, Any]:
    """The seconds of a sweep and of all checks, by library, the best of some rounds each."""
    points, rounds = effort.count(POINTS), min(effort.rounds, ROUNDS)
    figures: dict[str, dict[str, float]] = {}
    for library in libraries:
        progress(f"checking: {library.name}")
        backend = get_backend(library.name)

        async def scenario(checkpoint: Callable[[], Any] = backend.checkpoint) -> None:
            for _ in range(points):
                await checkpoint()

        async def generator(checkpoint: Callable[[], Any] = backend.checkpoint) -> AsyncGenerator[int, None]:
            for number in range(2):
                await checkpoint()
                yield number

        def sweep(scenario: Callable[[], Any] = scenario, row: str = backend.id) -> object:
            return sweep_cancellation(scenario, backend=row, timeout=60)

        def check(generator: Callable[[], Any] = generator, row: str = backend.id) -> object:
            return check_async_generator(generator, backends=[row])

        figures[library.name] = {"sweep": _best(sweep, rounds), "checks": _best(check, rounds)}
    return {"points": points, "seconds": figures}


def _best(action: Callable[[], object], rounds: int) -> float:
    """The seconds of an action, at its best."""
    best = float("inf")
    for _ in range(rounds):
        start = perf_counter()
        action()
        best = min(best, perf_counter() - start)
    return best


def tables(figures: dict[str, Any]) -> list[Table]:
    """What `measure` found."""
    rows = [
        [library, f"{found['sweep']:.2f} s", f"{1000 * found['checks']:.0f} ms"]
        for library, found in figures["seconds"].items()
    ]
    headings = [
        "loop",
        f"`sweep_cancellation`, {figures['points']:,} points",
        "`check_async_generator`, one small generator",
    ]
    return [Table("Checks and sweeps of the testing kit", headings, rows)]


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of sweeps and checks."""
    found: list[Goal] = []
    for library, seconds in figures["seconds"].items():
        if library in MOST:
            sweep = f"{library}: `sweep_cancellation`, {figures['points']:,} points"
            found.append(Goal(sweep, seconds["sweep"], MOST[library], unit="s"))
        found.append(Goal(f"{library}: `check_async_generator`", 1e3 * seconds["checks"], 200, unit="ms"))
    return found
