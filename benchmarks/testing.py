"""What the testing kit costs: leak tracking for each generator, and the pytest plugin at the start of a run."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asyncgen_tools.testing import track_async_generators
from benchmarks.measure import Effort, Goal, Table, against, alternately, progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from benchmarks.libraries import Library

PLAIN, TRACKED = "a generator that yields nothing", "tracked"
STARTS = {"without": ("-p", "no:asyncgen_tools"), "with the plugin": ()}


async def empty() -> AsyncGenerator[None, None]:
    """The shortest async generator."""
    for _ in range(0):
        yield


def plain(times: int) -> float:
    """Exhaust so many generators in a loop."""

    async def main() -> float:
        begun = perf_counter()
        for _ in range(times):
            async for _ in empty():
                pass
        return perf_counter() - begun

    return asyncio.run(main())


def tracked(times: int) -> float:
    """The same, tracked."""

    async def main() -> float:
        with track_async_generators():
            begun = perf_counter()
            for _ in range(times):
                async for _ in empty():
                    pass
            return perf_counter() - begun

    return asyncio.run(main())


def measure(_libraries: Sequence[Library], effort: Effort) -> dict[str, Any]:
    """The seconds of a short generator, tracked and not; and of an empty pytest run, with the plugin and without."""
    progress("testing: leak tracking")
    figures: dict[str, Any] = {"tracking": alternately({PLAIN: plain, TRACKED: tracked}, effort)}
    if find_spec("pytest") is not None:
        progress("testing: start of pytest")
        figures["start"] = measure_start(3 * effort.rounds)
    return figures


def measure_start(rounds: int) -> dict[str, float]:
    """The seconds of processor time of an empty pytest run as a whole process, at its best.

    Processor time, because half a second of wall time is never undisturbed on a machine that is shared.
    """
    best = dict.fromkeys(STARTS, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process would compile everything anew
        for _ in range(rounds + 1):
            for name, options in STARTS.items():
                best[name] = min(best[name], processor_time(["-m", "pytest", "-VV", *options], environment))
    return best


def tables(figures: dict[str, Any]) -> list[Table]:
    """What `measure` found."""
    titles = {
        "tracking": "`track_async_generators`",
        "start": "`pytest --version --version`, processor time of the process",
    }
    found: list[Table] = []
    for part, title in titles.items():
        if part in figures:
            seconds: dict[str, float] = figures[part]
            reference = next(iter(seconds.values()))
            found.append(
                Table(title, ["what", "time"], [[name, against(seconds[name], reference)] for name in seconds])
            )
    return found


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of the plugin."""
    tracking = figures["tracking"]
    found = [Goal("a short generator: what tracking adds", 1e6 * (tracking[TRACKED] - tracking[PLAIN]), 2, unit="µs")]
    if "start" in figures:
        added = figures["start"]["with the plugin"] - figures["start"]["without"]
        found.append(Goal("start of pytest: what the plugin adds", 1e3 * added, 10, unit="ms"))
    return found


def processor_time(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """The seconds of processor time that this Python takes for some arguments, as a process of its own."""
    nowhere = [(os.POSIX_SPAWN_OPEN, output, os.devnull, os.O_WRONLY, 0) for output in (1, 2)]
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment, file_actions=nowhere)
    _, status, usage = os.wait4(process, 0)
    assert status == 0, arguments
    return usage.ru_utime + usage.ru_stime
